"""The man pages: which there are, and from which part of docs and which command line each is made.

Nothing is told here but a page's name and what it is in a line. Names: what the distribution has already (service(8),
services(5)) stays the distribution's, so those of ezha carry its name, as git's do.
"""

import argparse
import re
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from ha import __version__
from ha.cli import ezha
from tools.package import parsers, roff

ROOT = Path(__file__).resolve().parents[2]

_PLACES = (
    ("`$EZ/conf` (`/usr/local/cluster/conf`)", "`/etc/openha`"),
    ("/usr/local/cluster/conf", "/etc/openha"),
    ("/usr/local/cluster/log", "/var/log/openha"),
    ("/usr/local/cluster", "/usr/lib/openha"),
)
"""Where the package has what the pages tell of; not where a prefix is what is told."""


@dataclass(frozen=True, slots=True)
class Page:
    """One page. ``source``: a file of docs; ``heading``: its part, empty for the whole."""

    name: str
    section: int
    what: str
    source: str
    heading: str = ""
    synopsis: tuple[str, ...] = ()
    """Where the part does not begin with one."""
    program: str = ""
    """Whose options are listed."""
    subcommands: tuple[str, ...] = ()
    """Whose options are listed where the part has a heading for them; of ``ezha``."""
    without: tuple[str, ...] = ()
    """Headings that are other pages' matter."""
    others: tuple[str, ...] = field(default=())
    """Further names of the page."""


_ALONE = ("lab", "sim", "service", "hb")
"""Subcommands of ezha with a page of their own."""

PAGES = (
    Page(
        "ezha",
        8,
        "high availability of services: the administrator's command",
        "commands.md",
        "ezha",
        synopsis=("ezha COMMAND …", "ezha COMMAND --help", "ezha --version"),
        subcommands=tuple(name for name in ezha.COMMANDS if name not in _ALONE),
        without=("lab", "sim"),
    ),
    Page(
        "ezha-service",
        8,
        "states of services, and what an operator asks for them",
        "commands.md",
        "service",
        program="service",
    ),
    Page(
        "ezha-hb",
        8,
        "heartbeat paths, their state and their configuration",
        "commands.md",
        "hb",
        program="hb",
        others=("hb",),
    ),
    Page(
        "openha", 8, "the commands of ezha under OpenHA's name", "commands.md", "openha", synopsis=("openha COMMAND …",)
    ),
    Page("nmond", 8, "the daemon of ezha", "commands.md", "nmond", others=("nmond-supervisor", "ezha-guardian")),
    Page("ezha.init", 8, "boot script of ezha", "commands.md", "ezha.init"),
    Page("ezha-lab", 8, "a cluster of nodes on one machine", "lab.md", synopsis=("ezha lab VERB …",), program="lab"),
    Page(
        "ezha-sim",
        8,
        "histories of a cluster under virtual time",
        "simulator.md",
        synopsis=("ezha sim WHAT …",),
        program="sim",
        without=(
            "What is checked",
            "The lease",
            "Determinism",
            "Planted bugs",
            "Exploring all histories",
            "The original's rules",
        ),
    ),
    Page(
        "svcmgr",
        8,
        "start, stop and show a service made of resources",
        "svcmgr.md",
        program="svcmgr",
        synopsis=("svcmgr -s SERVICE [options] ACTION", "svcmgr [options] ACTION"),
        without=("svcmon", "nodemgr"),
    ),
    Page("svcmon", 8, "heartbeats, nodes and services on one screen", "svcmgr.md", "svcmon", program="svcmon"),
    Page("nodemgr", 8, "settings of this node", "svcmgr.md", "nodemgr", program="nodemgr"),
    Page("ezha-resources", 5, "the resources of a service", "resources.md"),
    Page("ezha-nodes", 5, "the nodes of a cluster", "configuration.md", "nodes"),
    Page("ezha-monitor", 5, "the heartbeat paths of a cluster", "configuration.md", "monitor"),
    Page("ezha-services", 5, "the services of a cluster", "configuration.md", "services"),
    Page("ezha-options.toml", 5, "options of a node of a cluster", "configuration.md", "options.toml"),
    Page("ezha-keys", 5, "what heartbeats are signed with", "configuration.md", "keys"),
    Page("ezha-controller", 7, "how the controller of a service is called", "controller.md"),
)


def pages(date: str) -> dict[str, str]:
    """File name (``ezha.8``) to text. ``date``: of the pages, ISO 8601."""
    return {f"{page.name}.{page.section}": text(page, date) for page in PAGES}


def aliases() -> dict[str, str]:
    """File name of a further name to that of its page."""
    return {f"{other}.{page.section}": f"{page.name}.{page.section}" for page in PAGES for other in page.others}


def text(page: Page, date: str) -> str:
    """The page in man(7)."""
    title = f'"{page.name.upper()}" "{page.section}" "{date}" "ezha {__version__}" "High availability"'
    lines = [f".TH {title}", ".SH NAME", f"{roff.quoted(page.name)} \\- {roff.quoted(page.what)}"]
    usage, body = _parts(page)
    if usage:
        lines += [".SH SYNOPSIS", ".EX", *map(roff.quoted, usage), ".EE"]
    lines.append(".SH DESCRIPTION")
    if page.program and body[0].markdown.lstrip().startswith("#"):
        lines.append(roff.quoted(_parser(page.program).description or ""))
    if page.name == "ezha":
        lines += [
            ".SS Commands",
            *roff.terms([(f"**{n}**", ezha.COMMANDS[n][1] + _elsewhere(n)) for n in ezha.COMMANDS]),
        ]
    for part in body:
        lines += roff.converted(part.markdown, lambda level, name: _heading(level, name, page))
        for name in part.commands:
            made = _options(parsers.of_command(name), f"ezha {name}")
            if made and len(part.commands) > 1:
                lines += [".PP", f"\\fBezha {roff.quoted(name)}\\fR:"]
            lines += made
    if page.program:
        lines.append(".SH OPTIONS")
        lines += _options(_parser(page.program), f"ezha {page.program}")
    lines += [".SH SEE ALSO", *_see_also(page)]
    lines += [".PP", "All of the documentation: \\fI/usr/share/doc/ezha\\fR."]
    # A heading begins a paragraph by itself.
    lines = [line for before, line in pairwise(["", *lines]) if line != ".PP" or not before.startswith((".SH", ".SS"))]
    return "\n".join(lines) + "\n"


def _parser(program: str) -> argparse.ArgumentParser:
    return (parsers.of_command if program in ezha.COMMANDS else parsers.of_program)(program)


@dataclass(slots=True)
class _Part:
    markdown: str
    commands: tuple[str, ...] = ()
    """Whose options come after it."""


def _parts(page: Page) -> tuple[list[str], list[_Part]]:
    markdown = _section((ROOT / "docs" / page.source).read_text(encoding="utf-8"), page.heading)
    for heading in page.without:
        markdown = _cut(markdown, heading)
    for here, there in _PLACES:
        markdown = "\n".join(
            line if "--prefix" in line or "is installed in" in line or "ls /usr" in line else line.replace(here, there)
            for line in markdown.split("\n")
        )
    usage = list(page.synopsis)
    if not usage and (found := re.match(r"\s*((?:    \S.*\n|     +\S.*\n)+)", markdown)):
        usage = [line[4:] for line in found[1].splitlines()]
        markdown = markdown[found.end() :]
    if not page.subcommands:
        return usage, [_Part(markdown)]
    parts = [_Part("")]
    for line in markdown.split("\n"):
        if line.startswith("### "):
            words = re.findall(r"[a-z-]+", line.split("[")[0])
            parts.append(_Part("", tuple(w for w in words if w in page.subcommands)[: 2 if "," in line else 1]))
        parts[-1].markdown += line + "\n"
    return usage, parts


def _headings(markdown: str) -> list[tuple[int, int, str]]:
    """Offset, level, text of each heading; what stands in code is none."""
    found, offset, fenced = [], 0, False
    for line in markdown.splitlines(keepends=True):
        fenced ^= line.startswith("```")
        if not fenced and (match := re.match(r"(#+) +(.*?)\s*$", line)):
            found.append((offset, len(match[1]), match[2]))
        offset += len(line)
    return found


def _bounds(markdown: str, heading: str) -> tuple[int, int]:
    headings = _headings(markdown)
    for place, (offset, level, name) in enumerate(headings):
        if name == heading or (level > 1 and name.split(" [")[0] == heading):
            end = next((o for o, lower, _ in headings[place + 1 :] if lower <= level), len(markdown))
            return offset, end
    raise LookupError(f"no heading {heading!r}")


def _section(markdown: str, heading: str) -> str:
    """What stands below a heading, or below the title."""
    start, end = (0, len(markdown)) if not heading else _bounds(markdown, heading)
    below = markdown[start:end].split("\n", 1)[1]
    levels = [level for _, level, _ in _headings(below)]
    more = 3 - min(levels, default=3)
    lines, fenced = [], False
    for line in below.split("\n"):
        fenced ^= line.startswith("```")
        lines.append("#" * more + line if more > 0 and not fenced and re.match(r"#+ ", line) else line)
    return "\n".join(lines)


def _cut(markdown: str, heading: str) -> str:
    start, end = _bounds(markdown, heading)
    return markdown[:start] + markdown[end:]


def _heading(level: int, name: str, page: Page) -> str:
    """``###`` is a section of a page, what is below it a subsection; the commands of ezha are subsections."""
    text = roff.quoted(name).replace('"', "\\(dq")
    if level <= 3 and not page.subcommands:
        return f'.SH "{text.upper() if "`" not in name else text}"'
    return f'.SS "{text}"'


def _elsewhere(name: str) -> str:
    return f" (see ezha-{name}(8))" if name in _ALONE else ""


def _options(parser: argparse.ArgumentParser, program: str) -> list[str]:
    """What a parser takes, with what its help says. With verbs: of each of them."""
    rows: list[tuple[str, str]] = []
    below: list[str] = []
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, sub in action.choices.items():
                made = _options(sub, f"{program} {name}")
                below += [
                    ".PP",
                    f"\\fB{roff.quoted(f'{program} {name}')}\\fR: {roff.quoted(sub.description or '')}",
                    *made,
                ]
            continue
        if isinstance(action, argparse._HelpAction) or action.help == argparse.SUPPRESS:
            continue
        text = (action.help or "") % {"default": action.default, "prog": parser.prog} if action.help else ""
        if text or action.option_strings:
            rows.append((_term(action), roff_safe(text)))
    return [*roff.terms([row for row in rows if row[1] or row[0].startswith("**-")]), *below]


def _term(action: argparse.Action) -> str:
    metavar = action.metavar if isinstance(action.metavar, str) else ""
    if not metavar:
        metavar = "|".join(map(str, action.choices)) if action.choices else action.dest.upper()
    if not action.option_strings:
        return f"*{roff_safe(metavar)}*"
    value = "" if action.nargs == 0 else f" *{roff_safe(metavar)}*"
    return ", ".join(f"**{option}**" for option in action.option_strings) + value


def roff_safe(text: str) -> str:
    """Plain text as Markdown."""
    return re.sub(r"([\\`*_\[\]<>])", r"\\\1", text)


def _see_also(page: Page) -> list[str]:
    names = [f"\\fB{roff.quoted(p.name)}\\fR({p.section})" for p in PAGES if p.name != page.name]
    return [f"{name}," for name in names[:-1]] + names[-1:]
