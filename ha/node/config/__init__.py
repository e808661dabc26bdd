"""The one parser of ``nodes``, ``monitor``, ``services``, ``options.toml`` and ``logfacility``.

The files are described in docs/configuration.md. This package knows nothing of how a node runs.
"""

from ha.node.config.checking import CheckReport, check
from ha.node.config.editing import PathWords, add_path, add_service, remove_path, remove_service
from ha.node.config.options import Options, PathTuning, ServiceTuning
from ha.node.config.problems import ConfigError, Problem
from ha.node.config.whole import Configuration, Texts, load, load_texts, parse

__all__ = [
    "CheckReport",
    "ConfigError",
    "Configuration",
    "Options",
    "PathTuning",
    "PathWords",
    "Problem",
    "ServiceTuning",
    "Texts",
    "add_path",
    "add_service",
    "check",
    "load",
    "load_texts",
    "parse",
    "remove_path",
    "remove_service",
]
