"""Measurements of ezha, all in the lab: ``python -m bench`` (docs/performance.md)."""
