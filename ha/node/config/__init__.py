"""The one parser of ``nodes``, ``monitor``, ``services``, ``options.toml`` and ``logfacility``.

The files are described in docs/configuration.md. This package knows nothing of how a node runs.
"""

from ha.node.config.options import Options, PathTuning, ServiceTuning
from ha.node.config.problems import ConfigError, Problem
from ha.node.config.whole import Configuration, Texts, load, load_texts, parse

__all__ = [
    "ConfigError",
    "Configuration",
    "Options",
    "PathTuning",
    "Problem",
    "ServiceTuning",
    "Texts",
    "load",
    "load_texts",
    "parse",
]
