"""What every command does with what goes wrong: one clear line on stderr and an exit code, never a traceback.

Knows no command. Imports next to nothing, because the quick commands start with it.
"""

import os
import sys
from collections.abc import Callable, Iterable, Sequence

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130
EXIT_PIPE = 141
"""What a shell reports for a program that SIGPIPE ended (``service -s | head -1``)."""


class CliError(Exception):
    """Something that the person at the keyboard can understand and mend. ``str()`` is one line."""

    def __init__(self, text: str, code: int = EXIT_FAILED) -> None:
        super().__init__(text)
        self.code = code


class UsageError(CliError):
    """The command line is wrong. ``usage`` is shown below the reason."""

    def __init__(self, text: str, usage: str = "") -> None:
        super().__init__(text, EXIT_USAGE)
        self.usage = usage


class Interrupted(CliError):
    """Ctrl-C, with something to say about what goes on without us."""

    def __init__(self, text: str) -> None:
        super().__init__(text, EXIT_INTERRUPTED)


def say(text: str) -> None:
    """Print ``text`` and a newline on stdout, and see to it that it got there (a full disk is an error)."""
    try:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise CliError(f"standard output cannot be written: {error.strerror}") from None


def complain(text: str) -> None:
    """Print ``text`` and a newline on stderr; where nobody can read it, the exit code must do."""
    try:
        sys.stderr.write(text + "\n")
        sys.stderr.flush()
    except OSError:
        _to_null(2)


def warn(texts: Iterable[str]) -> None:
    """Print what an administrator must not overlook on stderr, which leaves stdout to programs; red on a terminal."""
    red = sys.stderr is not None and sys.stderr.isatty() and "NO_COLOR" not in os.environ
    for text in texts:
        complain(f"\x1b[1;31m{text}\x1b[0m" if red else text)


def guarded(program: str, main: Callable[[Sequence[str]], int], argv: Sequence[str]) -> int:
    """Run ``main(argv)``; return its exit code, or the one that its failure deserves.

    ``EZ_DEBUG`` in the environment lets the traceback through, for whoever looks for the fault in ezha itself.
    """
    debug = bool(os.environ.get("EZ_DEBUG"))
    if sys.stdin is None or sys.stdout is None or sys.stderr is None:
        _open_standard_streams()
    code = _guarded(program, main, argv, debug)
    if code:
        _let_go_of_output()
    return code


def _guarded(program: str, main: Callable[[Sequence[str]], int], argv: Sequence[str], debug: bool) -> int:
    try:
        return main(argv)
    except CliError as error:
        if debug and not isinstance(error, UsageError):
            raise
        complain(f"{program}: {error}")
        if isinstance(error, UsageError) and error.usage:
            complain(error.usage)
        return error.code
    except KeyboardInterrupt:
        complain(f"{program}: interrupted")
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        return EXIT_PIPE  # Whoever read our output has gone, and wants no more of it.
    except Exception as error:
        if debug:
            raise
        complain(f"{program}: {_in_words(error)}".replace("\n", " "))
        return EXIT_FAILED


def _in_words(error: Exception) -> str:
    if not isinstance(error, OSError):
        return f"{type(error).__name__}: {error} (a fault of ezha itself; EZ_DEBUG=1 shows where)"
    reason = error.strerror or str(error)
    return f"{error.filename}: {reason}" if error.filename else reason


def _open_standard_streams() -> None:
    """Somebody closed stdin, stdout or stderr."""
    from ha.node.streams import occupy

    occupy()
    sys.stdin = sys.stdin or os.fdopen(0, closefd=False)
    sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", closefd=False)


def _let_go_of_output() -> None:
    """The interpreter writes what is left in its buffers when it ends: what failed once must not fail once more."""
    try:
        sys.stdout.flush()
    except OSError:
        _to_null(1)


def _to_null(number: int) -> None:
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, number)
    os.close(null)
