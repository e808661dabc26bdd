"""Two machines that boot once a run, and are put back to that moment for every test.

``pair``: ezha from its Debian package, or a copy of this ezha where ``EZHA_VM_PACKAGE`` names none; the service ``web``
runs on node1 under a lease, and writes to a file system on the shared disk; ``cold`` was never unfrozen. Machines are
emulated, on a machine that has other things to do, so T is long.
"""

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from ha.lab.vm.lab import MachineLab
from tests.vm.machines import Machines, files

T = 10.0
"""Seconds."""


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "gate: the share of the machines' tests that every gate runs")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.lab)
            item.add_marker(pytest.mark.timeout(600))
            if os.geteuid() != 0:
                item.add_marker(pytest.mark.skip(reason="needs root"))


@pytest.fixture(scope="session")
def machines() -> Iterator[Machines]:
    place = tempfile.mkdtemp(prefix="ezha-vm-test-", dir="/var/tmp")
    package = os.environ.get("EZHA_VM_PACKAGE") or None
    if package is not None:  # another one may be built meanwhile
        package = shutil.copy(package, f"{place}/ezha.deb")
    lab = MachineLab(
        f"{place}/lab",
        package=package,
        more=files(package is not None),
        tell=lambda text: print(text, file=sys.stderr, flush=True),
    )
    try:
        lab.up(timeout_s=T, start=True)
        machines = Machines(lab, T)
        machines.begin()
        yield machines
    finally:
        lab.down()
        shutil.rmtree(place)


@pytest.fixture
def pair(machines: Machines) -> Iterator[Machines]:
    """As it was when ``web`` had just been started on node1; at the end it is seen that no disk was mounted twice."""
    machines.restore()
    try:
        yield machines
    finally:
        found = machines.witness.close()
    assert [each for each in found if each.length_s > machines.overlap_s] == [], "the file system was mounted on both"
