"""Standard input, output and error that somebody closed before this program began.

Imports next to nothing, for the supervisor and the quick commands use it.
"""

import os


def occupy() -> None:
    """Open /dev/null on each of them that is closed: no file, pipe or socket that is opened later may get its number.

    What is written to a closed output then fails, as it did before; a closed error output wants to hear nothing.
    """
    for number, mode in ((0, os.O_RDONLY), (1, os.O_RDONLY), (2, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, mode)  # gets the lowest number that is free
