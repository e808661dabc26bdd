"""A world under virtual time that runs the production engine: faults, checkers, replay, shrinking, reports."""
