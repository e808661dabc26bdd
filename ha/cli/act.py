"""An action on a service, or on all: asks nmond, waits for the outcome, says what became of it.

Decides nothing: what is allowed is the transition table's matter, in nmond (or in ``ha.cli.offline`` without one).
"""

import os
import sys
from typing import TYPE_CHECKING

from ha.cli.client import ANSWER_TIMEOUT_S, Answer, ControlError, Silent, ask, converse
from ha.cli.guard import EXIT_FAILED, Interrupted, complain, say

if TYPE_CHECKING:
    from ha.node.layout import Layout

ACTIONS = ("stop", "start", "freeze-stop", "freeze-start", "unfreeze", "force-stop", "force-start")
"""As OpenHA lists them. ``switch`` is ezha's, and has its own command."""


class Progress:
    """One line on a terminal that is written over and over; on anything else nothing at all."""

    def __init__(self) -> None:
        self._shown = 0
        self._on = sys.stderr.isatty()

    def show(self, text: str) -> None:
        if not self._on:
            return
        text = text.replace("\n", " ")[: _width()]
        sys.stderr.write("\r" + text.ljust(self._shown))
        sys.stderr.flush()
        self._shown = len(text)

    def clear(self) -> None:
        if self._shown:
            sys.stderr.write("\r" + " " * self._shown + "\r")
            sys.stderr.flush()
            self._shown = 0


def _width() -> int:
    try:
        columns = os.get_terminal_size(2).columns
    except OSError:
        columns = 0
    return max(20, columns - 1) if columns else 79  # 0: a terminal that does not know its width.


def operator(program: str) -> str:
    """Who asks, for the history: ``alice (uid 0), service -A``."""
    name = os.environ.get("SUDO_USER") or os.environ.get("LOGNAME") or os.environ.get("USER") or ""
    if not name.isprintable() or not 0 < len(name) <= 64:
        name = "root" if os.getuid() == 0 else "someone"
    return f"{name} (uid {os.getuid()}), {program}"


def act(
    layout: "Layout",
    action: str,
    service: str | None,
    *,
    by: str,
    wait: bool = True,
    override: bool = False,
    target: str = "",
    as_json: bool = False,
) -> int:
    """Ask for ``action`` on ``service`` (None: on every service, in parallel).

    Returns 0 where it came about (without ``wait``: where it was accepted) for every service asked for, else 1.
    Raises NotRunning where there is no nmond, Interrupted on Ctrl-C.
    """
    request = {
        "op": "action",
        "action": action,
        "service": service,
        "override": override,
        "target": target,
        "wait": wait,
        "by": by,
    }
    progress = Progress()
    final: Answer | None = None
    try:
        for answer in converse(layout, request, ANSWER_TIMEOUT_S, idle=lambda: _still_there(layout)):
            if answer.get("final"):
                final = answer
            else:
                progress.show(f"{answer.get('service', '')}: {answer.get('text', '')}")
    except KeyboardInterrupt:
        progress.clear()
        what = f"{action} of {service}" if service else f"{action} of all services"
        raise Interrupted(f"no longer waiting; the {what} goes on (service -s shows its state)") from None
    finally:
        progress.clear()
    if final is None:
        raise ControlError("nmond closed the connection before the outcome was known; service -s shows the state")
    return _outcome(final, as_json)


def _still_there(layout: "Layout") -> None:
    """A long wait is only worth it while nmond lives: a start may take minutes, an nmond that hangs says nothing."""
    try:
        ask(layout, {"op": "metrics"}, ANSWER_TIMEOUT_S)
    except Silent:
        raise Silent("nmond does not answer any more; what became of the action is not known") from None
    except ControlError as error:
        raise ControlError(f"the outcome is not known: {error}") from None


def _outcome(final: Answer, as_json: bool) -> int:
    results = final.get("results", [])
    ok = bool(final.get("ok")) and all(result.get("ok") for result in results)
    if as_json:
        from json import dumps

        say(dumps({"ok": ok, "text": final.get("text", ""), "results": results}, indent=2))
    elif not ok:
        failed = [result for result in results if not result.get("ok")]
        for result in failed:
            complain(f"{result.get('service', '')}: {result.get('text', '')}")
        if not failed:
            raise ControlError(str(final.get("text") or "nmond refuses, and gives no reason"))
    return 0 if ok else EXIT_FAILED
