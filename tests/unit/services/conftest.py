"""Fixtures of the service controller's tests."""

from tests.unit.services.drivers import drivers as drivers
