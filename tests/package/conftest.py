"""The package, built once, and a machine that has it: shared by all tests, which follow one another in its life."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from ha import __version__
from tests.package import machine

ROOT = Path(__file__).resolve().parents[2]
NEXT = f"{__version__}+next"


@dataclass(frozen=True)
class Built:
    package: Path
    again: Path
    """Built elsewhere, by somebody with other habits."""
    next: Path
    """The same under the next version."""
    lintian: str
    """What it found."""
    tree: Path
    """Of a machine that ``package`` was installed in."""


def snapshot(folder: Path) -> Path:
    """The files as they are now: whoever goes on editing them changes no build after the first."""
    tree = folder / "tree"
    subprocess.run(["git", "clone", "--quiet", "--shared", str(ROOT), str(tree)], check=True)
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    for name in filter(None, names.decode().split("\0")):
        if (ROOT / name).exists():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, tree / name)
    return tree


def build(tree: Path, folder: Path, version: str = __version__, umask: int = 0o022, **environ: str) -> Path:
    done = subprocess.run(
        ["tools/package/build", version, str(folder)],
        cwd=tree,
        env={**os.environ, "PYTHON": sys.executable, **environ},
        umask=umask,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / f"ezha_{version}_all.deb"


def lintian(package: Path) -> str:
    argv = ["lintian", "--allow-root", "--display-level=>=warning", str(package)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Built]:
    folder = tmp_path_factory.mktemp("dist")
    other = tmp_path_factory.mktemp("a longer path")
    sources = snapshot(tmp_path_factory.mktemp("sources"))
    package = build(sources, folder)
    tree = machine.place()
    try:
        with ThreadPoolExecutor() as pool:
            made = pool.submit(machine.make, tree, package)
            checked = pool.submit(lintian, package)
            again = build(sources, other, umask=0o077, TMPDIR=str(other), TZ="Asia/Tokyo", LANG="C", LC_ALL="C")
            following = build(sources, folder, NEXT)
            made.result()
        yield Built(package, again, following, checked.result(), tree)
    finally:
        machine.Machine(tree).remove()


@pytest.fixture(scope="session")
def node(built: Built) -> Iterator[machine.Machine]:
    """It runs systemd, and ezha was just installed."""
    node = machine.Machine(built.tree)
    try:
        node.boot()
        for package in (built.package, built.next):
            node.file(f"/root/{package.name}").write_bytes(package.read_bytes())
        yield node
    finally:
        node.power_off()
