"""Command lines of the commands that need not be quick: argparse, with ezha's way of saying what is wrong."""

import argparse
from collections.abc import Callable
from typing import NoReturn

from ha.cli.guard import UsageError


class Parser(argparse.ArgumentParser):
    """An ``ArgumentParser`` that raises UsageError instead of ending the process. Takes no abbreviated options."""

    def __init__(self, prog: str, description: str) -> None:
        super().__init__(prog=prog, description=description, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        raise UsageError(message, self.format_usage().rstrip())


def integer(lowest: int, highest: int) -> Callable[[str], int]:
    """A type for ``add_argument``: a whole number in ``lowest`` … ``highest``."""

    def parse(text: str) -> int:
        value = int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None
        if value is None or not lowest <= value <= highest:
            raise argparse.ArgumentTypeError(f"{text} is not a number from {lowest} to {highest}")
        return value

    return parse
