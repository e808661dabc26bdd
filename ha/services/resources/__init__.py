"""The drivers: a module for each kind of resource, loaded only where a service has one (``ha.services.registry``).

A driver knows how one resource is started, stopped and looked at; it knows neither the order of things nor other
resources, beyond what its ``Context`` tells.
"""
