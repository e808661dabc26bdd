"""Fence agents: what a node runs to end another one by a way of its own (a power switch, a management board).

How long one takes and how it ends, also where it fails, hangs or lies. Who is fenced, and when, is the engine's matter;
how long the lower of two waits is ``ha.node.fencing.rank``'s.
"""

from typing import Final

from ha.simulation.machine import Machine

SHAPES: Final = ("fails", "hangs", "slow", "lies")
"""``lies``: it says that it has succeeded, and has done nothing."""
DELAY_S: Final = 5.0
"""For which the lower of two waits, as options.toml has it where nothing else is said."""
TAKES_S: Final = (0.5, 2.0)
SLOW: Final = 10.0
TIMEOUT_S: Final = 60.0
"""An agent that hangs is given up after this."""


def takes(agent: Machine) -> float:
    """Seconds that an agent takes which begins there now."""
    shape = agent.agents[-1] if agent.agents else ""
    taken = agent.draw.between(*TAKES_S)
    return TIMEOUT_S if shape == "hangs" else taken * SLOW if shape == "slow" else taken


def strike(agent: Machine, target: Machine) -> bool:
    """It is through: the target is off, and boots again; or not. Whether it says so."""
    shape = agent.agents[-1] if agent.agents else ""
    if shape in ("fails", "hangs"):
        return False
    if shape == "lies":
        target.lied += 1
    else:
        target.power_cycle(0.0)
    return True
