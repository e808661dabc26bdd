"""The links by which a service is called: ``S``, ``S.cluster``, ``S.stonith``, all to svcmgr.

The name that svcmgr is called by selects service and mode (spec: OpenSVC, "Names and entry points").
"""

import os
from dataclasses import dataclass

from ha.services.log import Log

_CLUSTER = ".cluster"
_STONITH = ".stonith"
PROGRAM = "svcmgr"
USUAL_PLACE = "/usr/bin/svcmgr"
"""Where the tutorial has it; what links lead to where it is ours."""


@dataclass(frozen=True, slots=True)
class Called:
    """What the name of the program says."""

    service: str = ""
    """Empty: called as svcmgr."""
    cluster: bool = False
    stonith: bool = False
    """The action is ``stonith``, whatever the arguments."""


def called(program: str) -> Called:
    """``program`` is ``argv[0]``."""
    name = os.path.basename(program)
    if name == PROGRAM:
        return Called()
    if name.endswith(_CLUSTER):
        return Called(name.removesuffix(_CLUSTER), cluster=True)
    if name.endswith(_STONITH):
        return Called(name.removesuffix(_STONITH), cluster=True, stonith=True)
    return Called(name)


def launcher(program: str) -> str:
    """The program that links should lead to: /usr/bin/svcmgr where that is this one, else this one itself."""
    real = os.path.realpath(program)
    return USUAL_PLACE if os.path.realpath(USUAL_PLACE) == real else real


def repair(etc: str, service: str, target: str, log: Log) -> None:
    """See to it that both links of a clustered service lead to ``target``, and tell what was wrong with them.

    What cannot be mended is told as an error: the clusterware cannot call the service then.
    """
    if not target:
        return
    for ending in (_CLUSTER, _STONITH):
        path = f"{etc}/{service}{ending}"
        if not (wrong := _wrong(path, target)):
            continue
        log.info(f"{path}: {wrong}. fix.")
        try:
            link(path, target)
        except OSError as error:
            log.error(f"{path} cannot be made a link to {target}: {error.strerror}")


def _wrong(path: str, target: str) -> str:
    if os.path.islink(path):
        if not os.path.exists(path):
            return "broken link"
        same = os.path.realpath(path) == os.path.realpath(target)
        return "" if same else "symlink exists but points to wrong file"
    return "regular file" if os.path.isfile(path) else "not regular file nor symlink"


def link(path: str, target: str) -> None:
    """Make ``path`` a link to ``target`` in one step, whatever file or link stood there. Raises OSError."""
    temporary = f"{os.path.dirname(path)}/.{os.path.basename(path)}.{os.getpid()}"
    os.symlink(target, temporary)
    try:
        os.rename(temporary, path)
    except OSError:
        os.unlink(temporary)
        raise
