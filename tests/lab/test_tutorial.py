"""The chapter of OpenHA's tutorial, command by command: whoever comes from OpenHA finds what they know."""

from pathlib import Path

from ha.lab.lab import INSTALL
from ha.lab.plan import PREFIX
from ha.node.history import tail
from tests.lab.conftest import NewLab, wait_for
from tests.lab.transcript import parse, play

CHAPTER = Path(__file__).parent / "transcripts" / "openha-integration.txt"
SERVICE = "p26.opensvc.com"


def test_the_chapter(new_lab: NewLab) -> None:
    lab = new_lab(install=INSTALL)
    lab.up(timeout_s=10.0)
    play(lab, parse(CHAPTER))

    assert _transitions(lab.files("node1")) == ["STOPPED", "START_READY", "STARTING", "STARTED"]
    assert _transitions(lab.files("node2")) == ["STOPPED"]

    # The links in rc3.d do what they were made for: a boot starts ezha, and the peer's state is known again.
    lab.power_off("node2")
    lab.power_on("node2")
    rows = "        Primary  : node1, STARTED\n        Secondary: node2, STOPPED\n"
    shown = f"1 service(s) defined:\nService: {SERVICE}\n{rows}"
    for node in ("node1", "node2"):
        wait_for(lambda node=node: lab.exec(node, [f"{PREFIX}/bin/service", "-s"]).stdout == shown, what=shown)
    assert _transitions(lab.files("node1")) == ["STOPPED", "START_READY", "STARTING", "STARTED"]

    # And K01cluster ends it: the service is stopped before the node goes.
    done = lab.exec("node1", ["/etc/rc.d/rc0.d/K01cluster", "stop"])
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    wait_for(lambda: _transitions(lab.files("node2"))[-1] == "STARTED", what="node2 takes the service over")


def _transitions(files: str) -> list[str]:
    """The states that the service came to on a node, in order; one that stays is not told."""
    entries = tail(f"{files}/cluster/log/history.jsonl", SERVICE, 1000).entries
    return [entry.dest for entry in entries if entry.kind == "transition" and entry.source != entry.dest]
