"""Fixtures for end-to-end tests: labs that are always taken down, and waiting that does not guess.

``lab`` is a lab of two nodes with ezha installed and not started; ``bare_lab`` the same without ezha, quicker to have;
``new_lab`` makes any number of others. All labs of a test are gone when it ends, passed or failed.
"""

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from ha.lab.errors import LabError
from ha.lab.lab import INSTALL, Lab

T = TypeVar("T")
NewLab = Callable[..., Lab]


def wait_for(condition: Callable[[], T], timeout: float = 10.0, *, what: str = "", every: float = 0.02) -> T:
    """Poll until ``condition()`` is true, and return its value; fail after ``timeout`` seconds with its last value."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout:g} s: {what or condition}; last: {value!r}")
        time.sleep(every)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.lab)
            if os.geteuid() != 0:
                item.add_marker(pytest.mark.skip(reason="needs root"))


@pytest.fixture
def new_lab() -> Iterator[NewLab]:
    """``new_lab(folder, install=None, user_namespace=False)``: a lab that is not up yet, in a folder of its own."""
    made: list[tuple[Lab, str]] = []

    def make(folder: str = "", *, install: tuple[str, ...] | None = None, user_namespace: bool = False) -> Lab:
        place = folder or tempfile.mkdtemp(prefix="ezha-lab-test-")
        made.append((Lab(f"{place}/lab", install=install, user_namespace=user_namespace), place))
        return made[-1][0]

    try:
        yield make
    finally:
        failures = []
        for lab, place in made:
            try:
                lab.down()
            except (LabError, OSError) as error:  # the next lab must be taken down all the same; raised below
                failures.append(error)
            else:
                shutil.rmtree(place, ignore_errors=True)
        if failures:
            raise failures[0]


@pytest.fixture
def bare_lab(new_lab: NewLab) -> Lab:
    lab = new_lab()
    lab.up()
    return lab


@pytest.fixture
def lab(new_lab: NewLab) -> Lab:
    lab = new_lab(install=INSTALL)
    lab.up(timeout_s=2.0)
    return lab
