"""What every command does with what goes wrong: one clear line on stderr and an exit code, never a traceback.

Knows no command. Imports next to nothing, because the quick commands start with it.
"""

import os
import sys
from collections.abc import Callable, Sequence

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
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def complain(text: str) -> None:
    """Print ``text`` and a newline on stderr."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def guarded(program: str, main: Callable[[Sequence[str]], int], argv: Sequence[str]) -> int:
    """Run ``main(argv)``; return its exit code, or the one that its failure deserves.

    ``EZ_DEBUG`` in the environment lets the traceback through, for whoever looks for the fault in ezha itself.
    """
    debug = bool(os.environ.get("EZ_DEBUG"))
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
        # Whoever read our output has gone; without this the interpreter complains once more when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return EXIT_PIPE
    except Exception as error:
        if debug:
            raise
        what = f"{type(error).__name__}: {error}".replace("\n", " ")
        hint = "" if isinstance(error, OSError) else " (a fault of ezha itself; EZ_DEBUG=1 shows where)"
        complain(f"{program}: {what}{hint}")
        return EXIT_FAILED
