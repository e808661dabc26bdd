"""The clusters that the hunt draws: configuration files as text, made of a few words that a scenario file can hold.

The files go through the production parser like anybody's. Whoever brings files of their own does not need this module.
"""

from dataclasses import dataclass

from ha.node.config import Texts
from ha.simulation.plan import PlanError

PATHS = ("net", "dio", "unicast", "net2")
"""What a node may send on: two interfaces for multicast, one for unicast, a shared disk."""


@dataclass(frozen=True, slots=True)
class Setting:
    """A cluster in a few words: ``nodes=2 timeout=10 paths=net+dio services=1``."""

    nodes: int = 2
    timeout: float = 10.0
    paths: tuple[str, ...] = ("net", "dio")
    services: int = 1
    script_timeout: float = 20.0

    @property
    def text(self) -> str:
        paths = "+".join(self.paths)
        return (
            f"nodes={self.nodes} timeout={self.timeout:g} paths={paths} services={self.services} "
            f"script-timeout={self.script_timeout:g}"
        )

    @classmethod
    def parse(cls, text: str) -> "Setting":
        """Raises PlanError."""
        try:
            words = dict(word.split("=", 1) for word in text.split())
            paths = tuple(words.get("paths", "net+dio").split("+"))
            made = cls(
                int(words.get("nodes", "2")),
                float(words.get("timeout", "10")),
                paths,
                int(words.get("services", "1")),
                float(words.get("script-timeout", "20")),
            )
        except ValueError as error:
            raise PlanError(f"setting {text!r}: {error}; write: setting {cls().text}") from None
        if not (2 <= made.nodes <= 16 and 1 <= made.services <= 200 and set(paths) <= set(PATHS)):
            raise PlanError(f"setting {text!r}: 2 to 16 nodes, 1 to 200 services, paths of {'+'.join(PATHS)}")
        return made

    def texts(self) -> Texts:
        """The files of every node."""
        names = [f"node{i}" for i in range(1, self.nodes + 1)]
        monitor = [self._line(name, number, kind) for kind in self.paths for number, name in enumerate(names)]
        services = []
        for number in range(self.services):
            order = names[number % self.nodes :] + names[: number % self.nodes]
            name = f"svc{number + 1}"
            services.append(f"{name} /etc/opensvc/{name}.cluster {order[0]} {','.join(order[1:])} /bin/true")
        limit = self.script_timeout
        options = f"start_timeout = {limit:g}\nstop_timeout = {limit:g}\ncheck_timeout = 10\nkill_grace = 2\n"
        return Texts("\n".join(names) + "\n", "\n".join(monitor) + "\n", "\n".join(services) + "\n", options)

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
                return f"{node} dio /dev/mapper/quorum {2 * number} {timeout}"
