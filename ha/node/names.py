"""What a node, a service or a cluster may be called.

The rule makes every name safe as the name of a file and as a word of a command line: it has no slash, is not
``.`` or ``..``, is not hidden, and is not taken for an option. This module knows nothing of where names come from.
"""

MAX_NAME = 64
"""Characters."""

_ALLOWED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-")


def name_trouble(name: str) -> str:
    """Why ``name`` cannot be one, in words that follow it in a sentence; empty where it can."""
    if not name:
        return "is empty"
    if len(name) > MAX_NAME:
        return f"is longer than {MAX_NAME} characters"
    if name[0] in ".-":
        return f"begins with {name[0]!r}; begin with a letter, a digit or '_'"
    if not _ALLOWED.issuperset(name):
        return "has a character other than A-Z a-z 0-9 . _ -"
    return ""


def valid_name(name: str) -> bool:
    return not name_trouble(name)
