"""``ezha migrate plan``: the steps that take the OpenHA cluster found here to ezha, a node at a time.

It reads the configuration and the ``STATE`` files, and changes nothing (docs/migration.md).
"""

import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ha.cli import adoption
from ha.cli.guard import EXIT_FAILED, CliError, complain, say
from ha.cli.options import Parser
from ha.fsm.states import State
from ha.node import statefile
from ha.node.config import ConfigError
from ha.node.config.lines import counted, split_words
from ha.node.config.whole import Texts, load_texts
from ha.node.files import read_regular
from ha.node.layout import DEFAULT_PREFIX, FHS, Layout, node_name
from ha.node.names import valid_name

_UP = (State.STARTING, State.STARTED, State.STOPPING, State.STOP_FAILED)


@dataclass(frozen=True, slots=True)
class Cluster:
    """What was found."""

    layout: Layout
    nodes: tuple[str, ...]
    services: tuple[tuple[str, str], ...]
    """Name, and the node on which it is up by the STATE files of this node; empty: on none."""
    lines: int
    taken_over: bool
    """ezha lies here already, in place of OpenHA."""

    @property
    def order(self) -> tuple[str, ...]:
        """The nodes, the one with the least to move first, and of equals the one that comes last in ``nodes``."""
        up = [node for _, node in self.services]
        return tuple(sorted(self.nodes, key=lambda node: (up.count(node), -self.nodes.index(node))))


def run(argv: Sequence[str]) -> int:
    """Exit code 0 where nothing is in the way, else 1."""
    parser = Parser(
        "ezha migrate", "Print the steps from OpenHA to ezha for the cluster of this node. Changes nothing."
    )
    parser.add_argument("verb", metavar="plan", choices=("plan",))
    parser.add_argument("--prefix", metavar="DIR", default="", help=f"where OpenHA lies: {DEFAULT_PREFIX} or {FHS}")
    options = parser.parse_args(argv)
    layout = _find(options.prefix)
    try:
        cluster = _read(layout)
    except ConfigError as error:
        raise CliError(str(error)) from None
    obstacles = [] if cluster.taken_over else adoption.obstacles(layout)
    say("\n".join(plan(cluster)))
    for obstacle in obstacles:
        complain(f"in the way: {obstacle}")
    if obstacles:
        complain("mend this first, on both nodes, and start OpenHA again there")
        return EXIT_FAILED
    return 0


def plan(cluster: Cluster) -> Iterator[str]:
    """The text, line by line."""
    layout, nodes = cluster.layout, ", ".join(cluster.nodes)
    packaged = layout.prefix.endswith(FHS)
    kind = "the layout of its packages" if packaged else "the layout of the tutorial"
    up = ", ".join(f"{name} {f'runs on {node}' if node else 'runs nowhere'}" for name, node in cluster.services)
    yield f"OpenHA in {layout.prefix} ({kind}): nodes {nodes}, {counted(cluster.lines, 'path')}; {up or 'no service'}."
    if cluster.taken_over:
        yield f"{node_name()} runs ezha already, the OpenHA of before is kept in {layout.prefix}/{adoption.SAVED}."
    if len(cluster.order) != 2:
        yield f"{counted(len(cluster.order), 'node')}: OpenHA knows pairs; do this for each pair that shares services."
        return
    for number, (title, lines) in enumerate(_steps(cluster, packaged), 1):
        yield from ("", f"{number}. {title}", *(f"   {line}" for line in lines))


def _steps(cluster: Cluster, packaged: bool) -> Iterator[tuple[str, list[str]]]:
    """A heading, and what to type under it."""
    layout, (first, second) = cluster.layout, cluster.order
    prefix, service, ezha = layout.prefix, f"{layout.bin}/service", _this_program()
    openha = "/etc/init.d/openha" if packaged else f"{prefix}/ezha.init"
    moving = [name for name, node in cluster.services if node]
    for node, other in ((first, second), (second, first)):
        names = [name for name, where in cluster.services if where == node] if node == first else moving
        if names:
            yield f"Move what runs on {node} to {other}.", _move(names, node, other, service)
        yield (
            f"Replace OpenHA by ezha on {node}, where nothing runs now.",
            [
                f"{node}# {openha} stop",
                f"{node}# {ezha} install --prefix {prefix}",
                f"{node}# {layout.bin}/ezha check",
                f"{node}# {prefix}/ezha.init start",
                f"{node}# {layout.bin}/hb -s        (every path is UP, and marked: wire openha)",
                f"{node}# {service} -s   (the same states as on {other})",
            ],
        )
    if moving:
        yield (
            "Both run ezha, and still speak as OpenHA does. Freeze every service as it is.",
            [f"{first}# {service} -A {name} freeze-start" for name in moving]
            + [f"{second}# {service} -A {name} freeze-stop" for name in moving],
        )
    yield (
        "Let both speak ezha's own language, one right after the other.",
        [
            line
            for node in (first, second)
            for line in (
                f"{node}# sed -i -e 's/^wire = .*/protection = \"none\"/' -e '/^ttl = /d' {layout.options}",
                f"{node}# {layout.bin}/ezha check && {layout.bin}/ezha reload",
            )
        ]
        + [f"{first}# {layout.bin}/hb -s        (every path is UP, and none is marked)"],
    )
    if moving:
        yield (
            "Unfreeze them, first where they run.",
            [f"{node}# {service} -A {name} unfreeze" for node in (first, second) for name in moving],
        )
    yield (
        "Both understand one another: have the services protected as the paths allow, one node right after the other.",
        [
            line
            for node in (first, second)
            for line in (
                f"{node}# sed -i '/^protection = /d' {layout.options}",
                f"{node}# {layout.bin}/ezha check && {layout.bin}/ezha reload",
            )
        ],
    )
    yield (
        "The way back, on a node that runs ezha and where nothing runs, while paths are marked: wire openha.",
        [f"# {prefix}/ezha.init stop", f"# {ezha} install --prefix {prefix} --undo", f"# {openha} start"],
    )


def _move(names: Sequence[str], node: str, other: str, service: str) -> list[str]:
    return [
        line
        for name in names
        for line in (
            f"{node}# {service} -A {name} freeze-stop",
            f"{other}# {service} -s   (until {name} is STARTED on {other}: 7 s, and its start)",
            f"{node}# {service} -A {name} unfreeze",
        )
    ]


def _find(given: str) -> Layout:
    """Raises CliError."""
    candidates = (given,) if given else (DEFAULT_PREFIX, FHS)
    for prefix in candidates:
        layout = Layout(prefix)
        if adoption.lies_in(layout) or adoption.is_kept(layout):
            return layout
    raise CliError(f"there is no OpenHA in {' or '.join(candidates)}; say where: ezha migrate plan --prefix DIR")


def _read(layout: Layout) -> Cluster:
    """Raises ConfigError where a file is missing."""
    texts: Texts = load_texts(layout)
    nodes = tuple(words[0] for words in _words(texts.nodes))
    rows = [words for words in _words(texts.services) if len(words) == 5 and valid_name(words[0])]
    return Cluster(
        layout,
        nodes,
        tuple((words[0], _where(layout, words)) for words in rows),
        len(_words(texts.monitor)),
        adoption.is_kept(layout),
    )


def _words(text: str) -> list[tuple[str, ...]]:
    return [words for line in text.splitlines() if (words := split_words(line))]


def _where(layout: Layout, words: Sequence[str]) -> str:
    """The node on which a service is up, by the STATE files."""
    for node in words[2:4]:
        if not valid_name(node):
            continue
        try:
            data = read_regular(layout.state(words[0], node), statefile.MAX_BYTES, follow=False)
        except OSError:
            continue  # a node that was never heard has none
        if data[:1] == b"7" or statefile.decode(data) in _UP:
            return node
    return ""


def _this_program() -> str:
    """What to type for this very ``ezha``: it is not in the prefix yet."""
    program = os.path.realpath(sys.argv[0])
    return program if os.path.basename(program) == "ezha" else f"{sys.executable} -m ha.cli.ezha"
