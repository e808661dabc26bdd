"""What a node costs that has nothing to do: processor, memory, and a look at its states."""

import json
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.figure import Figure
from bench.ground import NODES, Ground, progress
from ha.lab.process import identify, members

T_S = 10.0
WINDOW_S = 12.0
"""Of one sample of the processor time: two nodes give ten in a minute."""


@contextmanager
def resting(services: int) -> Iterator[Ground]:
    with Ground(T_S, services=services) as ground:
        ground.run_on(NODES[0])
        yield ground


def cpu_one(rounds: int) -> list[Figure]:
    with resting(1) as ground:
        return [processor(ground, rounds, 0.5), memory(ground, rounds)]


def cpu_many(rounds: int) -> list[Figure]:
    with resting(128) as ground:
        return [processor(ground, rounds, 0.85), memory(ground, rounds)]


def processor(ground: Ground, rounds: int, limit: float) -> Figure:
    what = f"processor time of a node, all processes, T = {T_S:g} s, {count(ground)}, idle"
    pids = {node: outside(ground, node) for node in NODES}
    found: list[float] = []
    while len(found) < rounds:
        progress(f"{what}: {len(found)} of {rounds}")
        before = {node: spent(pids[node]) for node in NODES}
        began = time.monotonic()
        time.sleep(WINDOW_S)
        window = time.monotonic() - began
        found += [(spent(pids[node]) - before[node]) * 60 / window for node in NODES]
    return Figure(what, "s a minute", found, median=limit, digits=3)


def memory(ground: Ground, rounds: int) -> Figure:
    """Not waited between samples: idle memory does not change. Shared pages are counted by the kernel's share."""
    pids = {node: outside(ground, node) for node in NODES}
    found = [pss(pids[node]) / 1024 for node in NODES for _ in range(max(1, rounds // 2))]
    return Figure(f"memory (PSS) of a node, all processes, {count(ground)}", "MB", found, median=60, digits=1)


def count(ground: Ground) -> str:
    number = len(ground.services)
    return f"{number} service{'s' if number > 1 else ''}"


def outside(ground: Ground, node: str) -> list[int]:
    """Pids, as the machine counts, of ezha's processes on a node: all in it but its first one and our shell."""
    ours = set(ground.pids(node))
    pid = next(each.pid for each in ground.lab.report() if each.name == node)
    assert pid is not None
    first = identify(pid)
    assert first is not None
    found = []
    for each in members(first):
        try:
            lines = Path(f"/proc/{each.id.pid}/status").read_text().splitlines()
        except (FileNotFoundError, ProcessLookupError):
            continue  # a command that has just ended
        inside = next(int(line.split()[-1]) for line in lines if line.startswith("NSpid:"))
        if inside in ours:
            found.append(each.id.pid)
    assert len(found) == len(ours), "a process of ezha came or went"
    return found


def spent(pids: list[int]) -> float:
    """Seconds on a processor so far: the scheduler's own account, in nanoseconds."""
    total = 0
    for pid in pids:
        for task in Path(f"/proc/{pid}/task").iterdir():
            total += int((task / "schedstat").read_text().split()[0])
    return total / 1e9


def pss(pids: list[int]) -> int:
    """KiB."""
    total = 0
    for pid in pids:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total


def look(rounds: int) -> list[Figure]:
    what = "service -s with 128 services, in starts of python3 -I -c pass"
    commands = {
        "look": ["/usr/local/cluster/bin/service", "-s"],
        "python": [sys.executable, "-I", "-c", "pass"],
    }
    with resting(128) as ground:
        progress(what)
        program = str(Path(__file__).with_name("spawn.py").resolve())
        words = [sys.executable, "-I", program, str(rounds), json.dumps(commands)]
        done = ground.lab.exec(NODES[0], words, timeout=600)
        assert done.returncode == 0, done.stderr
        times: dict[str, list[float]] = json.loads(done.stdout)
    base = statistics.median(times["python"])
    note = f"{statistics.median(times['look']):.1f} ms and {base:.1f} ms"
    return [Figure(what, "", [each / base for each in times["look"]], median=3, digits=2, note=note)]
