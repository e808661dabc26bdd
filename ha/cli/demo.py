"""``ezha demo``: the demonstration of ``ha.lab.demo`` on a terminal, or as plain lines."""

import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from types import FrameType
from typing import TYPE_CHECKING

from ha.cli.commands.status import STYLES
from ha.cli.guard import CliError, say
from ha.cli.options import Parser
from ha.lab.errors import LabError

if TYPE_CHECKING:
    from rich.live import Live
    from rich.table import Table

    from ha.lab.demo import Show, Takeover

_MAX_TIMEOUT_S = 30.0


def run(argv: Sequence[str]) -> int:
    """Exit code 0 where the other node took the service over."""
    parser = Parser("ezha demo", "Two nodes on this machine, a web server, the active node loses its power: watch.")
    parser.add_argument("--timeout", metavar="T", type=_timeout, default=2.0, help="of the heartbeats (default: 2 s)")
    options = parser.parse_args(argv)
    from ha.lab.demo import run as demonstrate

    with ExitStack() as stack:
        for number in (signal.SIGTERM, signal.SIGHUP):
            stack.callback(signal.signal, number, signal.signal(number, _end))
        try:
            with _shown() as show:
                takeover = demonstrate(show, options.timeout)
        except LabError as error:
            raise CliError(str(error)) from None
    say("\n".join(last_words(takeover)))
    return 0


def last_words(takeover: "Takeover") -> list[str]:
    """The figures, and what they count."""
    return [
        f"last heartbeat of node1 {-takeover.last_heartbeat_s:.3f} s before the power-off; the page was answered by "
        f"{takeover.node} {takeover.page_s:.3f} s after it",
        f"below: to the start script on {takeover.node}; overhead: beyond last heartbeat + timeout",
        f"takeover: {takeover.script_s:.3f} s after power-off (timeout {takeover.timeout_s:g} s, "
        f"overhead {takeover.overhead_s * 1000:.0f} ms)",
    ]


def _timeout(text: str) -> float:
    seconds = float(text)
    if not 0.2 <= seconds <= _MAX_TIMEOUT_S:
        raise ValueError
    return seconds


def _end(number: int, _frame: FrameType | None) -> None:
    """Ends as Ctrl-C does: what was made is taken down on the way."""
    raise SystemExit(128 + number)


def _shown() -> "Plain | Rich":
    return Rich() if sys.stdout.isatty() else Plain()


class Plain:
    """A line for everything."""

    def __enter__(self) -> "Show":
        return self

    def __exit__(self, *_failure: object) -> None:
        return

    def tell(self, at: float, text: str) -> None:
        say(f"{at:7.3f}  {text}")

    def command(self, at: float, node: str, line: str, output: str) -> None:
        say("\n".join([f"{at:7.3f}  {node}# {line}", *(f"         {each}" for each in output.splitlines())]))

    def states(self, states: Mapping[str, str], page: str) -> None:
        """The lines of ``tell`` say it."""


class Rich:
    """The same lines, in colours, above a table of what is the case now."""

    def __init__(self) -> None:
        from rich.console import Console

        self._console = Console(highlight=False)
        self._live: Live | None = None

    def __enter__(self) -> "Show":
        from rich.live import Live

        self._live = Live(console=self._console, auto_refresh=False, transient=True)
        self._live.start()
        return self

    def __exit__(self, *_failure: object) -> None:
        if self._live is not None:
            self._live.stop()

    def tell(self, at: float, text: str) -> None:
        from rich.text import Text

        words = Text(text)
        for state, style in STYLES.items():
            words.highlight_regex(rf"\b{state}\b", style)
        words.highlight_regex(r"loses its power", "bold red")
        self._console.print(Text(f"{at:7.3f}  ", style="dim") + words)

    def command(self, at: float, node: str, line: str, output: str) -> None:
        from rich.text import Text

        self._console.print(Text(f"{at:7.3f}  ", style="dim") + Text(f"{node}# {line}", style="bold"))
        if output.strip():
            self._console.print(Text("\n".join(f"         {each}" for each in output.splitlines())))

    def states(self, states: Mapping[str, str], page: str) -> None:
        assert self._live is not None
        self._live.update(_table(states, page), refresh=True)


def _table(states: Mapping[str, str], page: str) -> "Table":
    from rich.table import Table
    from rich.text import Text

    table = Table(title="service web", title_justify="left")
    for node in (*states, "page"):
        table.add_column(node, min_width=14)
    cells = [Text(state, style=STYLES.get(state, "bold red")) for state in states.values()]
    table.add_row(*cells, Text(f"from {page}" if page else "no answer", style="bold green" if page else "bold red"))
    return table
