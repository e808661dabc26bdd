"""The clusters that the hunt draws: configuration files as text, made of a few words that a scenario file can hold.

The files go through the production parser like anybody's. Whoever brings files of their own does not need this module.
"""

from dataclasses import dataclass

from ha.fsm.config import OPENHA, OWN_WIRE
from ha.fsm.timing import Timing
from ha.heartbeats.openha import BLOCKS
from ha.node.config import Texts
from ha.simulation.plan import PlanError

PATHS = ("net", "dio", "unicast", "net2")
"""What a node may send on: two interfaces for multicast, one for unicast, a shared disk."""


PROTECTIONS = ("none", "disk", "stonith", "disk+stonith")
"""``disk`` where every node has a disk path and nothing else is said, as the shared parser has it."""
SELF_FENCES = ("reboot", "command", "stop")
GUARDS = ("watchdog", "guardian")
SPLITS = ("report", "stop-lowest-rank")
WATCHDOG = "/dev/watchdog"


@dataclass(frozen=True, slots=True)
class Setting:
    """A cluster in a few words: ``nodes=2 timeout=10 paths=net+dio services=1``."""

    nodes: int = 2
    timeout: float = 10.0
    paths: tuple[str, ...] = ("net", "dio")
    services: int = 1
    script_timeout: float = 20.0
    protection: str = ""
    """Empty: what the paths allow."""
    self_fence: str = "reboot"
    guard: str = ""
    """What ends a node whose nmond does not; empty: the watchdog where T is long enough for one, else a guardian."""
    split_brain: str = "report"
    wire: str = OWN_WIRE
    """``openha``: every path speaks as the original does."""

    @property
    def text(self) -> str:
        paths = "+".join(self.paths)
        said = (
            f"nodes={self.nodes} timeout={self.timeout:g} paths={paths} services={self.services} "
            f"script-timeout={self.script_timeout:g}"
        )
        usual = type(self)()
        for word, name in _MORE.items():
            if getattr(self, name) != getattr(usual, name):
                said += f" {word}={getattr(self, name)}"
        return said

    @classmethod
    def parse(cls, text: str) -> "Setting":
        """Raises PlanError."""
        try:
            words = dict(word.split("=", 1) for word in text.split())
            paths = tuple(words.pop("paths", "net+dio").split("+"))
            made = cls(
                int(words.pop("nodes", "2")),
                float(words.pop("timeout", "10")),
                paths,
                int(words.pop("services", "1")),
                float(words.pop("script-timeout", "20")),
                **{_MORE[word]: value for word, value in words.items()},
            )
        except KeyError as error:
            raise PlanError(f"setting {text!r}: no word {error}; write: setting {cls().text}") from None
        except ValueError as error:
            raise PlanError(f"setting {text!r}: {error}; write: setting {cls().text}") from None
        if not (2 <= made.nodes <= 16 and 1 <= made.services <= 200 and set(paths) <= set(PATHS)):
            raise PlanError(f"setting {text!r}: 2 to 16 nodes, 1 to 200 services, paths of {'+'.join(PATHS)}")
        for word, choices in _CHOICES.items():
            value = getattr(made, _MORE[word])
            if value not in choices and value != getattr(cls(), _MORE[word]):
                raise PlanError(f"setting {text!r}: {word} is one of {', '.join(choices)}")
        return made

    @property
    def leased(self) -> bool:
        """A lease on a shared disk covers the services."""
        return "disk" in (self.protection or self._usual).split("+")

    @property
    def watched(self) -> bool:
        """By a watchdog of the hardware, which no pause of the machine's processes stops."""
        return self.guard == "watchdog" or (not self.guard and bool(Timing(self.timeout).watchdog))

    @property
    def _usual(self) -> str:
        return "disk" if "dio" in self.paths and self.wire == OWN_WIRE else "none"

    def texts(self) -> Texts:
        """The files of every node."""
        names = [f"node{i}" for i in range(1, self.nodes + 1)]
        monitor = [self._line(name, number, kind) for kind in self.paths for number, name in enumerate(names)]
        services = []
        for number in range(self.services):
            order = names[number % self.nodes :] + names[: number % self.nodes]
            name = f"svc{number + 1}"
            services.append(f"{name} /etc/opensvc/{name}.cluster {order[0]} {','.join(order[1:])} /bin/true")
        return Texts("\n".join(names) + "\n", "\n".join(monitor) + "\n", "\n".join(services) + "\n", self._options())

    def _options(self) -> str:
        limit = self.script_timeout
        lines = [
            f"start_timeout = {limit:g}",
            f"stop_timeout = {limit:g}",
            "check_timeout = 10",
            "kill_grace = 2",
            f'protection = "{self.protection or self._usual}"',
            f'self_fence = "{self.self_fence}"',
            f'split_brain = "{self.split_brain}"',
        ]
        if self.wire != OWN_WIRE:
            lines.append(f'wire = "{self.wire}"')
        if self.leased and self.watched:
            lines.append(f'watchdog = "{WATCHDOG}"')
        if self.self_fence == "command":
            lines.append('fence_command = ["/sbin/poweroff", "-f"]')
        if "stonith" in self.protection:
            lines += [f'[fence."node{i}"]\ncommand = ["/sbin/fence"]' for i in range(1, self.nodes + 1)]
        return "\n".join(lines) + "\n"

    def _line(self, node: str, number: int, kind: str) -> str:
        timeout = f"{self.timeout:g}"
        match kind:
            case "net":
                return f"{node} net eth0 239.131.50.{10 + number} 1234 {timeout}"
            case "net2":
                return f"{node} net eth1 239.131.51.{10 + number} 1235 {timeout}"
            case "unicast":
                return f"{node} unicast eth2 192.168.7.{10 + number} 1236 {timeout}"
            case _:
                blocks = BLOCKS if self.wire == OPENHA else 2
                return f"{node} dio /dev/mapper/quorum {blocks * number} {timeout}"


_MORE = {
    "protection": "protection",
    "self-fence": "self_fence",
    "guard": "guard",
    "split-brain": "split_brain",
    "wire": "wire",
}
"""Words that a setting need not have, and the fields that they stand for."""
_CHOICES = {
    "protection": PROTECTIONS,
    "self-fence": SELF_FENCES,
    "guard": GUARDS,
    "split-brain": SPLITS,
    "wire": (OWN_WIRE, OPENHA),
}
