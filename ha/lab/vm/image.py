"""The image that machines boot from: Debian's packages, both init systems, and ezha. Made once, kept by its content.

Two steps, each kept under the hash of what goes into it: Debian (``ha.lab.vm.debian``, a minute), and on it ezha
(seconds). What Debian has mended since an image was made is not looked for: remove the cache to have it.
"""

import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import ha
from ha.lab.errors import LabError
from ha.lab.plan import PREFIX
from ha.lab.vm import debian
from ha.lab.vm.tools import PATH, run, run_in

_BYTES = 1536 * 1024 * 1024
_KEPT = 3
"""How many of a kind stay in the cache, the newest."""
_TOOLS = {"mmdebstrap": "mmdebstrap", "mke2fs": "e2fsprogs", "tar": "tar", "chroot": "coreutils"}
_CODE = "/opt/ezha"


@dataclass(frozen=True, slots=True)
class Image:
    """Three files in the cache."""

    disk: str
    """Raw, an ext4 file system without partitions."""
    kernel: str
    initrd: str


def cache_folder() -> str:
    """Root: /var/cache/ezha-lab. Others: ~/.cache/ezha-lab, or below XDG_CACHE_HOME."""
    if os.geteuid() == 0:
        return "/var/cache/ezha-lab"
    return os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "ezha-lab")


def provide(package: str | None, tell: Callable[[str], None], cache: str | None = None) -> Image:
    """The image, made where it is missing. Raises LabError.

    ``package``: a Debian package of ezha to install in it; None: a copy of the ezha that runs here. ``tell`` is told
    what takes long.
    """
    place = cache or cache_folder()
    try:
        os.makedirs(place, mode=0o700, exist_ok=True)
        with _locked(f"{place}/lock"):
            return _provide(place, package, tell)
    except OSError as error:
        raise LabError(f"{error.filename or place}: {error.strerror}") from None


def _provide(place: str, package: str | None, tell: Callable[[str], None]) -> Image:
    base = _digest(debian.recipe())
    whole = _digest(debian.recipe(), *_payload(package))
    image = Image(f"{place}/image-{whole}", f"{place}/kernel-{base}", f"{place}/initrd-{base}")
    if not all(os.path.exists(path) for path in (image.disk, image.kernel, image.initrd)):
        if missing := [tool for tool in _TOOLS if shutil.which(tool, path=PATH) is None]:
            packages = " ".join(_TOOLS[tool] for tool in missing)
            raise LabError(f"{missing[0]} is needed to make the image; on Debian: apt install {packages}")
        with tempfile.TemporaryDirectory(prefix="making-", dir=place) as work:
            _make(place, base, image, package, f"{work}/tree", work, tell)
    for path in (image.disk, image.kernel, image.initrd, f"{place}/base-{base}.tar"):
        if os.path.exists(path):
            os.utime(path)
    _tidy(place)
    return image


def _make(
    place: str, base: str, image: Image, package: str | None, tree: str, work: str, tell: Callable[[str], None]
) -> None:
    os.mkdir(tree, 0o755)
    archive = f"{place}/base-{base}.tar"
    if all(os.path.exists(path) for path in (archive, image.kernel, image.initrd)):
        run(["tar", "-x", "--numeric-owner", "--xattrs", "-f", archive, "-C", tree], "unpacking Debian")
    else:
        tell(f"making the image's Debian {debian.SUITE}: about a minute, and only once")
        debian.make(tree, f"{work}/kernel", f"{work}/initrd")
        run(["tar", "-c", "--numeric-owner", "--xattrs", "-f", f"{work}/base", "-C", tree, "."], "packing Debian")
        for name, target in (("kernel", image.kernel), ("initrd", image.initrd), ("base", archive)):
            os.rename(f"{work}/{name}", target)
    tell("making the image: ezha comes into it")
    _install(tree, package)
    with open(f"{work}/disk", "wb") as file:
        os.chmod(file.fileno(), 0o600)
        file.truncate(_BYTES)
    # Nothing is left for a background thread of the kernel to initialize.
    options = ["-E", "lazy_itable_init=0,lazy_journal_init=0", "-m", "0", "-L", "ezha-lab"]
    run(["mke2fs", "-q", "-F", "-t", "ext4", *options, "-d", tree, f"{work}/disk"], "making the file system")
    os.rename(f"{work}/disk", image.disk)


# ---- ezha


def _install(tree: str, package: str | None) -> None:
    if package is not None:
        shutil.copyfile(package, f"{tree}/ezha.deb")
        run_in(tree, ["dpkg", "--install", "/ezha.deb"])
        os.unlink(f"{tree}/ezha.deb")
        return
    for source, name in _code():
        target = f"{tree}{_CODE}/{name}"
        os.makedirs(os.path.dirname(target), exist_ok=True)
        shutil.copyfile(source, target)
        os.chmod(target, 0o755 if os.access(source, os.X_OK) else 0o644)
    run_in(tree, ["python3", "-m", "compileall", "-q", _CODE])
    call = f"import sys; sys.path.append({_CODE!r}); from ha.cli.ezha import main; sys.exit(main())"
    run_in(tree, ["python3", "-I", "-c", call, "install", "--prefix", PREFIX, "--systemd", "--svcmgr"])


def _payload(package: str | None) -> Iterator[bytes]:
    """What the hash of the image has to cover beside the recipe."""
    if package is not None:
        yield Path(package).read_bytes()
        return
    for source, name in _code():
        yield name.encode()
        yield Path(source).read_bytes()


def _code() -> list[tuple[str, str]]:
    """The files of the ezha that runs here: where they are, and below which name. Its libraries are Debian's there."""
    package = os.path.dirname(os.path.realpath(ha.__file__))
    above = os.path.dirname(package)
    found = []
    for folder in (package, *(f"{above}/{name}" for name in ("conf", "init", "docs"))):
        found += [(str(path), os.path.relpath(path, above)) for path in Path(folder).rglob("*") if path.is_file()]
    return sorted((source, name) for source, name in found if "__pycache__" not in name)


# ---- means


def _digest(*parts: bytes) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(hashlib.sha256(part).digest())
    return digest.hexdigest()[:20]


@contextmanager
def _locked(path: str) -> Iterator[None]:
    """Two who need the same image make it once."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _tidy(place: str) -> None:
    """Only the newest stay; what a crash left goes. The lock is ours."""
    kinds: dict[str, list[os.DirEntry[str]]] = {}
    with os.scandir(place) as entries:
        for entry in entries:
            kinds.setdefault(entry.name.partition("-")[0], []).append(entry)
    for each in kinds.pop("making", []):
        shutil.rmtree(each.path)
    for kind in ("base", "image", "kernel", "initrd"):
        newest = sorted(kinds.get(kind, []), key=lambda entry: entry.stat().st_mtime, reverse=True)
        for each in newest[_KEPT:]:
            os.unlink(each.path)
