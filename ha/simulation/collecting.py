"""Searches without the collector of cycles: what they make by the million refers to nothing that refers to it.

It knows nothing of what is searched.
"""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

_COUNTS_REFERENCES: Final = sys.implementation.name == "cpython"
"""Elsewhere (PyPy) the collector frees all memory: a search without it would fill the machine's."""


@contextmanager
def uncollected() -> Iterator[None]:
    """Within it no cycle is looked for."""
    collects = gc.isenabled() and _COUNTS_REFERENCES
    if collects:
        gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()
