"""ezha: a high-availability engine. See docs/design.md for the map of the house."""

__version__ = "0.1.0"
