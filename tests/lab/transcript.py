"""Sessions at the shells of two nodes, from a file that reads as documentation: commands, and what they print.

The format is told at the head of ``transcripts/openha-integration.txt``. One shell a node lives as long as the
transcript, so that what a command sets, the next one finds.
"""

import os
import re
import select
import subprocess
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ha.lab.lab import Lab

_PROMPT = re.compile(r"^(node\d+|both)( until)? # (.+)$")
_PATTERNS = {
    "<pid>": r"[1-9][0-9]*",
    "<date>": r"[A-Z][a-z]{2} [ 0-9][0-9] [0-9]{2}:[0-9]{2}:[0-9]{2}",
    "<time>": r"[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}",
    "<s>": r"[0-9]+(\.[0-9]+)? s",
    "<clock>": r"[0-2][0-9]:[0-5][0-9]:[0-5][0-9]",
    "<took>": r"0:00:[0-9]{2}\.[0-9]{6}",
    "<when>": r"[A-Z][a-z]{2} +[0-9]{1,2} [0-9]{2}:[0-9]{2}",
    "<size>": r" *[0-9]+",
    "<loop>": r"/dev/loop[0-9]+",
    "<mac>": r"[0-9a-f]{2}(:[0-9a-f]{2}){5}",
}
_BLANK = "<blank>"
"""A line that is printed empty: an empty line in the file ends the paragraph."""
_UNTIL_S = 15.0
_DAYTIME_H = 12
"""What the shells' clock shows: what a tutorial prints of a schedule at night is not true at night."""
_COMMAND_S = 30.0


@dataclass(frozen=True, slots=True)
class Step:
    """A command, and all that it must print."""

    line: int
    nodes: tuple[str, ...]
    until: bool
    command: str
    printed: str

    def matches(self, text: str) -> bool:
        pattern = re.escape(self.printed)
        for word, meaning in _PATTERNS.items():
            pattern = pattern.replace(re.escape(word), meaning)
        return re.fullmatch(pattern, text) is not None


def parse(path: Path, both: tuple[str, ...] = ("node1", "node2")) -> list[Step]:
    """The steps of a transcript, in order."""
    steps = []
    lines = path.read_text().splitlines()
    for number, line in enumerate(lines, 1):
        begins = number == 1 or not lines[number - 2]
        if not begins or not (prompt := _PROMPT.match(line)):
            assert not _PROMPT.match(line), f"{path.name}:{number}: a prompt within a paragraph"
            continue
        printed = []
        for following in lines[number:]:
            if not following:
                break
            printed.append("\n" if following == _BLANK else following + "\n")
        who, until, command = prompt.groups()
        steps.append(Step(number, both if who == "both" else (who,), bool(until), command, "".join(printed)))
    return steps


def daytime(utc_hour: int) -> str:
    """The time zone (``TZ``, POSIX.1-2017, 8.3) in which it is now between noon and one o'clock."""
    return f"DAY{utc_hour - _DAYTIME_H:+d}"


class Shell:
    """A shell on a node, without a terminal. It begins with next to no environment, as after a login.

    Its day begins at noon, whenever the test runs.
    """

    _MARK = "-- the command above ended with"

    def __init__(self, lab: Lab, node: str) -> None:
        self.node = node
        zone = daytime(time.gmtime().tm_hour)
        argv = ["env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LANG=C.UTF-8", f"TZ={zone}", "sh"]
        self._child = lab.popen(
            node, argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, bufsize=0
        )

    def run(self, command: str) -> tuple[str, int]:
        """What the command printed, and its exit code."""
        assert self._child.stdin is not None and self._child.stdout is not None
        self._child.stdin.write(f"{command}\necho '{self._MARK}' $?\n".encode())
        heard = b""
        deadline = time.monotonic() + _COMMAND_S
        while not (end := re.search(rf"^{self._MARK} ([0-9]+)\n\Z".encode(), heard, re.MULTILINE)):
            left = deadline - time.monotonic()
            assert left > 0, f"{self.node} # {command}\nno end within {_COMMAND_S:g} s; so far:\n{heard.decode()}"
            if select.select([self._child.stdout], [], [], left)[0]:
                part = os.read(self._child.stdout.fileno(), 65536)
                assert part, f"{self.node} # {command}\nthe shell ended; so far:\n{heard.decode()}"
                heard += part
        return heard[: end.start()].decode(), int(end[1])

    def close(self) -> None:
        """The shell ends; what it has started in the background stays."""
        assert self._child.stdin is not None and self._child.stdout is not None
        self._child.stdin.close()
        try:
            self._child.wait(_COMMAND_S)
        finally:
            self._child.kill()
            self._child.wait()
            self._child.stdout.close()


def play(lab: Lab, steps: Iterable[Step]) -> None:
    """Type the steps. Fails at the first one that prints anything else, or ends with another code than 0."""
    shells: dict[str, Shell] = {}
    try:
        for step in steps:
            for node in step.nodes:
                if node not in shells:
                    shells[node] = Shell(lab, node)
                _type(shells[node], step)
    finally:
        for shell in shells.values():
            shell.close()


def _type(shell: Shell, step: Step) -> None:
    deadline = time.monotonic() + (_UNTIL_S if step.until else 0.0)
    while True:
        text, code = shell.run(step.command)
        if step.matches(text) and code == 0:
            return
        if time.monotonic() > deadline:
            place = f"line {step.line}: {shell.node} # {step.command}"
            raise AssertionError(f"{place}\nexit code {code}, printed:\n{text}\nexpected:\n{step.printed}")
        time.sleep(0.05)
