"""What every kind of lab can do: the verbs of ``ezha lab``, whatever its nodes are made of.

Two kinds: nodes that are namespaces of this machine (``ha.lab.lab``), and nodes that are machines of their own under
qemu (``ha.lab.vm``). A lab's record says which of them it is, so that only ``up`` has to be told.
"""

import subprocess
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from ha.lab import state
from ha.lab.errors import LabError
from ha.lab.where import default_dir

if TYPE_CHECKING:
    from ha.lab.lab import NodeReport

BACKENDS = (state.NAMESPACES, state.MACHINES)


class Backend(Protocol):
    """A lab in ``folder``. Every method raises LabError with one line for people. Times are seconds."""

    folder: str

    def up(self, nodes: int = 2, timeout_s: float = 10.0, start: bool = False, key: bool = True) -> None:
        """Make the nodes, ezha installed on each. On failure nothing is left behind."""

    def down(self, keep: bool = False) -> bool:
        """End everything, whatever has crashed. False when there was no lab."""

    def exec(
        self,
        name: str,
        argv: Sequence[str],
        timeout: float = 60.0,
        *,
        input: str | None = None,
        env: Mapping[str, str] | None = None,
    ) -> "subprocess.CompletedProcess[str]":
        """Run a command in a node and wait for it; past ``timeout`` it is killed, and TimeoutExpired raised."""

    def cut(self, what: str, name: str | None = None, one_way: bool = False, how: str | None = None) -> list[str]:
        """Cut ``net`` or ``disk`` of a node, or of all. Returns the names of the nodes."""

    def heal(self) -> None:
        """Undo all cuts, faults and pauses."""

    def pause(self, name: str, seconds: float, wait: bool = True) -> None:
        """Stop everything in the node for a while."""

    def resume(self, name: str) -> None:
        """End a pause early."""

    def power_off(self, name: str) -> None:
        """As a plug that is pulled."""

    def power_on(self, name: str, start: bool = False) -> None:
        """Boot the node."""

    def reset(self, name: str) -> None:
        """As the reset button of a machine."""

    def report(self) -> "list[NodeReport]":
        """A line of ``ezha lab status`` for each node, the client first."""


def open_lab(folder: str | None = None, backend: str | None = None) -> Backend:
    """The lab in ``folder``; ``backend``: of what kind it is to be where there is none yet.

    Raises LabError where there is one of another kind.
    """
    place = folder or default_dir()
    there = state.load(place)
    kind = backend or (there.backend if there else state.NAMESPACES)
    if there and there.backend != kind:
        raise LabError(
            f"the lab in {place} has another backend, {there.backend}; end it first, or choose another --dir"
        )
    if kind == state.MACHINES:
        from ha.lab.vm.lab import MachineLab

        return MachineLab(place)
    if kind != state.NAMESPACES:
        raise LabError(f"there is no backend {kind!r}; there are {' and '.join(BACKENDS)}")
    from ha.lab.lab import Lab

    return Lab(place)
