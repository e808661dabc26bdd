"""What OpenHA lets an administrator set in ``/etc/default/openha``: defaults for keys of ``options.toml``.

The boot script, or systemd, hands that file to nmond as its environment (docs/configuration.md, "The environment").
"""

from collections.abc import Mapping

from ha.node.config.lines import seconds
from ha.node.config.options import MAX_TALK_DELAY_S, Options
from ha.node.config.problems import Report

FREEZE_SECONDARY = "FREEZE_SERVICE_SECONDARY_INSTANCE_ON_START"
TALK_DELAY = "HEARTBEAT_TALK_DELAY_ON_START"
VARIABLES = (FREEZE_SECONDARY, TALK_DELAY)

_SOURCE = "environment (/etc/default/openha)"
_YES_OR_NO = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}


def defaults(environ: Mapping[str, str], report: Report) -> Options:
    """Options as the variables set them. An empty one counts as not set; one that makes no sense goes to ``report``."""
    freeze, delay = (environ.get(name, "").strip() for name in VARIABLES)
    found = Options()
    frozen = _YES_OR_NO.get(freeze.lower(), found.freeze_secondary_on_start)
    if freeze and freeze.lower() not in _YES_OR_NO:
        report.problem(_SOURCE, 0, f"{FREEZE_SECONDARY} is {freeze[:40]!r}; give yes or no")
    wait = seconds(delay) if delay else found.talk_delay
    if wait is None or wait > MAX_TALK_DELAY_S:
        report.problem(_SOURCE, 0, f"{TALK_DELAY} is {delay[:40]!r}; give seconds, 0 to {MAX_TALK_DELAY_S:g}")
        wait = found.talk_delay
    return Options(freeze_secondary_on_start=frozen, talk_delay=wait)
