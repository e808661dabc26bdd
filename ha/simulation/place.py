"""What a fault is drawn for: the cluster, the time there is, and the lengths that make a difference to it."""

from dataclasses import dataclass

from ha.simulation.draw import Draw


@dataclass(frozen=True, slots=True)
class Place:
    """Times are seconds."""

    draw: Draw
    nodes: tuple[str, ...]
    services: tuple[str, ...]
    timeout: float
    seconds: float

    def when(self) -> float:
        return tenth(self.draw.between(1.0, self.seconds))

    def node(self) -> str:
        return self.draw.pick(self.nodes)

    def other(self, node: str) -> str:
        """Any but this one."""
        return self.draw.pick([n for n in self.nodes if n != node])

    def pair(self) -> tuple[str, ...]:
        """A node, or one direction between two."""
        node = self.node()
        if self.draw.chance(0.5):
            return (node,)
        return (node, self.other(node))

    def brief(self) -> float:
        """Well within the timeout."""
        return tenth(self.timeout * self.draw.between(0.05, 0.9))

    def long(self) -> float:
        """Around the timeout and far beyond."""
        return tenth(self.timeout * self.draw.pick((0.9, 1.0, 1.1, 2.0, 5.0)) * self.draw.between(0.9, 1.2))


def tenth(value: float) -> float:
    """To a tenth of a millisecond: what a sentence says is then all there is."""
    return round(value, 4)
