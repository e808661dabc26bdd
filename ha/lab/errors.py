"""The one error that a user of the lab is meant to read."""


class LabError(Exception):
    """What is wrong and what to do about it, in one line."""
