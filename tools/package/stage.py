"""Lays the files of the package out below a folder, as they will lie below ``/``. Called by ``debian/rules``.

The layout is that of OpenHA's packages (``ha.node.layout.FHS``), with the tutorial's listing in it by links. The code
lies in a folder of its own: ``ha`` is no name for everybody's modules.
"""

import os
import shutil
import sys
from datetime import UTC, datetime
from pathlib import Path

from ha.cli import share
from ha.cli.commands.install import adapted, in_one_folder
from ha.cli.launchers import PROGRAMS, launcher
from ha.node.layout import FHS, Layout
from tools.package import completions, manpages

CODE = "/usr/share/ezha"
DOC = "/usr/share/doc/ezha"
_LAYOUT = Layout(FHS)
_LINKS = {
    "conf": _LAYOUT.conf,
    "log": _LAYOUT.log,
    "services": _LAYOUT.states,
    "doc": DOC,
}
_IN_PATH = ("ezha", "hb", "openha")
"""Not ``service``, which Debian has, and not those of the service controller, which are alternatives."""

_INIT = """\
{header}
# Redirected to systemd where it runs, except what it cannot do: a restart that leaves the heartbeats going on.
[ -x {prefix}/ezha.init ] || exit 0
case ${{1-}} in
start | stop)
	. /lib/lsb/init-functions
	;;
restart | force-reload | reload | try-restart | status) ;;
esac
exec {prefix}/ezha.init "$@"
"""


def main(root: Path, debian: Path) -> None:
    """``root``: what becomes ``/``. ``debian``: where debhelper looks for the unit and the init script."""
    for name in PROGRAMS:
        _write(root, f"{_LAYOUT.bin}/{name}", launcher(name, "/usr/bin/python3", CODE, packaged=True), 0o755)
    _write(root, f"{FHS}/env.sh", adapted(share.read("init/env.sh"), FHS))
    boot = adapted(share.read("init/ezha.init"), FHS)
    _write(root, f"{FHS}/ezha.init", boot, 0o755)
    _write(root, f"{_LAYOUT.options}", share.read("conf/options.toml"))
    for folder, mode in ((_LAYOUT.log, 0o750), (_LAYOUT.states, 0o755)):
        (root / folder[1:]).mkdir(parents=True, exist_ok=True)
        (root / folder[1:]).chmod(mode)
    for name, target in _LINKS.items():
        _link(root, f"{FHS}/{name}", target)
    for name in _IN_PATH:
        _link(root, f"/usr/bin/{name}", f"{_LAYOUT.bin}/{name}")
    _code(root)
    for name, path in share.documents().items():
        if name != "LICENSE":  # Debian has it
            text = Path(path).read_text(encoding="utf-8")
            mode = 0o755 if os.access(path, os.X_OK) else 0o644
            _write(root, f"{DOC}/{name}", in_one_folder(text) if name.endswith(".md") else text, mode)
    when = datetime.fromtimestamp(int(os.environ["SOURCE_DATE_EPOCH"]), UTC)
    for name, text in manpages.pages(when.date().isoformat()).items():
        _write(root, f"/usr/share/man/man{name[-1]}/{name}", text)
    for other, name in manpages.aliases().items():
        _link(root, f"/usr/share/man/man{other[-1]}/{other}", name)
    for program in completions.PROGRAMS:
        _write(root, f"/usr/share/bash-completion/completions/{program}", completions.text(program, "bash"))
        _write(root, f"/usr/share/zsh/vendor-completions/_{program}", completions.text(program, "zsh"))
    header = boot[: boot.index("### END INIT INFO\n")] + "### END INIT INFO\n"
    (debian / "ezha.init").write_text(_INIT.format(header=header, prefix=FHS), encoding="utf-8")
    (debian / "ezha.service").write_text(adapted(share.read("init/ezha.service"), FHS), encoding="utf-8")


def _code(root: Path) -> None:
    source = Path(share.code_folder())
    for folder in ("ha", "conf", "init"):
        ignored = shutil.ignore_patterns("__pycache__", "*.pyc")
        shutil.copytree(source / folder, root / CODE[1:] / folder, ignore=ignored, dirs_exist_ok=True)


def _write(root: Path, path: str, text: str, mode: int = 0o644) -> None:
    target = root / path[1:]
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text, encoding="utf-8")
    target.chmod(mode)


def _link(root: Path, path: str, target: str) -> None:
    place = root / path[1:]
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(target)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
