"""The file ``logfacility``: a syslog facility by name (spec: OpenHA, "Configuration files")."""

from ha.node.config.lines import read_lines
from ha.node.config.problems import Report

DEFAULT_FACILITY = "daemon"

FACILITIES: dict[str, int] = {
    "kern": 0,
    "user": 1,
    "mail": 2,
    "daemon": 3,
    "auth": 4,
    "syslog": 5,
    "lpr": 6,
    "news": 7,
    "uucp": 8,
    "cron": 9,
    "authpriv": 10,
    "ftp": 11,
    "local0": 16,
    "local1": 17,
    "local2": 18,
    "local3": 19,
    "local4": 20,
    "local5": 21,
    "local6": 22,
    "local7": 23,
}
"""Name and number (RFC 5424, section 6.2.1)."""


def parse_facility(text: str, report: Report, file: str = "conf/logfacility") -> str:
    """The facility in lower case; ``daemon`` where the file is empty or wrong."""
    lines = read_lines(text, file, report, 1)
    if not lines:
        return DEFAULT_FACILITY
    line = lines[0]
    name = line.words[0].lower().removeprefix("log_")
    if len(line.words) > 1 or name not in FACILITIES or name == "kern":
        known = " ".join(f for f in FACILITIES if f != "kern")
        report.problem(file, line.number, f"{' '.join(line.words)} is no syslog facility; give one of {known}")
        return DEFAULT_FACILITY
    return name
