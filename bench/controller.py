"""What the service controller takes: a look, a start of nothing, and a whole service whose node loses its power."""

import json
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.figure import Figure
from bench.ground import NODES, Ground, other, progress
from ha.lab import loop, visitor
from ha.lab.lab import Lab
from ha.lab.plan import CLIENT, PREFIX
from ha.lab.spawn import helper_argv

T_S = 2.0
BEYOND_S = 2.0
RESOURCES = 20
_PATIENCE_S = 60.0
"""How long a page may take before it is not coming any more."""
_ADDRESS, _PORT = "192.168.100.201", 8080
_SERVICE = "web"
_CONTROLLER = f'#!/bin/sh\nexec {PREFIX}/bin/svcmgr --cluster -s {_SERVICE} "$1"\n'


def look(rounds: int) -> list[Figure]:
    what = f"svcmgr print status, {RESOURCES} resources"
    mounts = "".join(f"[fs#{number}]\ntype = tmpfs\nmnt = /run/many/{number}\n" for number in range(RESOURCES - 1))
    text = f"[DEFAULT]\nnodes = node1\n[ip#0]\nipname = {_ADDRESS}\nipdev = eth0\n{mounts}"
    with _alone("many", text) as ground:
        ground.shells["node1"].must("svcmgr -s many start")
        samples = _timed(ground, what, "svcmgr -s many print status", rounds)
    return [Figure(what, "ms", samples, median=500)]


def nothing(rounds: int) -> list[Figure]:
    what = "S.cluster start, a service without resources"
    with _alone("none", "[DEFAULT]\nnodes = node1 node2\n") as ground:
        ground.shells["node1"].must(f"ln -s {PREFIX}/bin/svcmgr /etc/opensvc/none.cluster")
        samples = _timed(ground, what, "/etc/opensvc/none.cluster start", rounds)
    return [Figure(what, "ms", samples, median=250)]


@contextmanager
def _alone(service: str, text: str) -> Iterator[Ground]:
    with Ground(T_S) as ground:
        Path(ground.lab.files("node1"), "etc/opensvc", f"{service}.conf").write_text(text)
        yield ground


def _timed(ground: Ground, what: str, command: str, rounds: int) -> list[float]:
    found = []
    for number in range(rounds):
        progress(f"{what}: {number + 1} of {rounds}")
        done = ground.shells["node1"].run(command)
        assert done.code == 0, done.output
        found.append((done.ended - done.began) * 1000)
    return found


def takeover(rounds: int) -> list[Figure]:
    """Address, block device, ext3, web server: seen by a client that asks for the page every 25 ms."""
    what = f"svcmgr, address, ext3 and web server, T = {T_S:g} s: the page is back after power-off, beyond T"
    with Ground(T_S, controller=_CONTROLLER) as ground:
        disk = _make_service(ground)
        try:
            ground.run_on(NODES[0])
            found = []
            for number in range(rounds):
                progress(f"{what}: {number + 1} of {rounds}")
                active = NODES[number % 2]
                found.append(_away(ground, active) - T_S)
                ground.power_on(active)
                ground.wait_states({active: "STOPPED", other(active): "STARTED"})
        finally:
            ground.lab.down()
            loop.detach_all(str(disk))
    return [Figure(what, "s", found, worst=BEYOND_S, digits=2)]


def _make_service(ground: Ground) -> Path:
    """On both nodes. Returns the file that is their disk."""
    disk = ground.place / "web.img"
    disk.write_bytes(b"")
    subprocess.run(["mkfs.ext3", "-q", str(disk), "16M"], check=True, capture_output=True)
    server = f"/usr/bin/python3 -I -m http.server --directory /run/{_SERVICE} {_PORT}"
    text = (
        f"[DEFAULT]\nnodes = node1 node2\n[sync#i0]\ndisable = True\n"
        f"[ip#0]\nipname = {_ADDRESS}\nipdev = eth0\n"
        f"[disk#0]\ntype = loop\nfile = {disk}\ndev = /dev/mapper/{_SERVICE}\n"
        f"[fs#0]\ntype = ext3\ndev = /dev/mapper/{_SERVICE}\nmnt = /run/{_SERVICE}\n"
        f"[app#0]\ntype = simple\nstart = {server}\n"
    )
    for node in NODES:
        Path(ground.lab.files(node), "etc/opensvc", f"{_SERVICE}.conf").write_text(text)
    return disk


def _away(ground: Ground, active: str) -> float:
    """Seconds from the power-off until the page is there again."""
    looker = _looker(ground.lab)
    try:
        assert looker.stdout is not None
        _page(ground, looker.stdout, active, 0.0)
        off = visitor.now()
        ground.power_off(active)
        return _page(ground, looker.stdout, other(active), off) - off
    finally:
        looker.kill()
        looker.communicate()


def _page(ground: Ground, lines: Iterable[str], node: str, after: float) -> float:
    """When the page is seen, later than ``after``. Raises RuntimeError with the log of ``node`` where it is not."""
    end = visitor.now() + _PATIENCE_S
    for each in map(json.loads, lines):
        if each["page"] and each["at"] > after:
            return float(each["at"])
        if visitor.now() > end:
            break
    log = ground.shells[node].run(f"tail -n 30 /var/log/opensvc/{_SERVICE}.log").output
    raise RuntimeError(f"no page from {node} within {_PATIENCE_S:g} s:\n{log}")


def _looker(lab: Lab) -> "subprocess.Popen[str]":
    job = json.dumps({"address": _ADDRESS, "port": _PORT, "ports": []})
    return lab.popen(CLIENT, helper_argv("ha.lab.visitor", job), stdout=subprocess.PIPE, text=True)
