"""A database whose node loses its power under load: what was committed is there on the other node, once.

PostgreSQL on an ext4 file system of the shared disk, an address, and clients that insert without a pause. A client
notes a row as committed when the database has said so, as any application would. The power goes with whatever the node
had not written to the disk: its view of the disk ends with it (``ha.lab.faultdisk``).
"""

import os
import subprocess
import threading
import time
from pathlib import Path

from bench.figure import Figure
from bench.ground import ADDRESS, NODES, Ground, other, progress, wait_for
from ha.lab.plan import CLIENT, DISK, PREFIX

T_S = 2.0
_DISK_BYTES = 256 << 20
_SERVICE = "svc0000"
_MOUNT = "/run/database"
"""In a folder of each node's own."""
_DATA = f"{_MOUNT}/data"
_BIN = str(max(Path("/usr/lib/postgresql").glob("*/bin"), default="/usr/lib/postgresql/bin"))
_WRITERS = 4
_LOAD_S = 2.0
_PATIENCE_S = 60.0
_OPTIONS = f"-c listen_addresses=* -c unix_socket_directories={_MOUNT}"
_CONTROLLER = f'#!/bin/sh\nexec {PREFIX}/bin/svcmgr -s {_SERVICE} "$1"\n'
_SERVICE_FILE = f"""\
[DEFAULT]
nodes = node1 node2

[ip#0]
ipname = {ADDRESS}
ipdev = eth0

[fs#0]
type = ext4
dev = {DISK}
mnt = {_MOUNT}

"""
_OCF = f"""\
[app#1]
type = ocf:heartbeat:pgsql
pgctl = {_BIN}/pg_ctl
psql = /usr/bin/psql
pgdata = {_DATA}
socketdir = {_MOUNT}
start_opt = {_OPTIONS}
logfile = {_MOUNT}/log
"""
_AS_POSTGRES = "/usr/sbin/runuser -u postgres --"
_FORKING = f"""\
[app#1]
type = forking
start = {_AS_POSTGRES} {_BIN}/pg_ctl -D {_DATA} -l {_MOUNT}/log -w -o "{_OPTIONS}" start
stop = {_AS_POSTGRES} {_BIN}/pg_ctl -D {_DATA} -w -m fast stop
check = {_AS_POSTGRES} {_BIN}/pg_isready -q -h {_MOUNT}
"""


class Database(Ground):
    """Two nodes with a larger disk that both see, and a service with PostgreSQL on it."""

    def __init__(self, application: str) -> None:
        # The whole disk is the database's: no heartbeats on it.
        super().__init__(T_S, media=("net",), controller=_CONTROLLER)
        self._application = application

    def _up(self) -> None:
        super()._up()
        for node in NODES:
            self.lab.power_off(node)
        os.truncate(f"{self.lab.folder}/disk.img", _DISK_BYTES)
        for node in NODES:
            self.lab.power_on(node)

    def _configure(self, node: str) -> None:
        super()._configure(node)
        path = Path(self.lab.files(node)) / f"etc/opensvc/{_SERVICE}.env"
        path.write_text(_SERVICE_FILE + self._application)
        path.chmod(0o644)

    def fill(self) -> None:
        """Make the file system and an empty table on it."""
        shell = self.shells[NODES[0]]
        for command in (
            f"mkfs.ext4 -q -F {DISK}",
            f"mkdir -p {_MOUNT}",
            f"mount {DISK} {_MOUNT}",
            f"chown postgres: {_MOUNT}",
            f"cd / && {_AS_POSTGRES} {_BIN}/initdb -A trust -D {_DATA}",
            f"echo 'host all all 192.168.100.0/24 trust' >>{_DATA}/pg_hba.conf",
            f"umount {_MOUNT}",
        ):
            shell.must(command)
        self.run_on(NODES[0])
        self.ask("CREATE TABLE written (number bigint)")

    def ask(self, query: str) -> list[str]:
        """Rows of the answer, from where the clients are. Raises RuntimeError."""
        done = self.lab.exec(CLIENT, [*_PSQL, "-c", query])
        if done.returncode:
            raise RuntimeError(f"{query}: {done.stderr.strip()}")
        return done.stdout.split()


_PSQL = ("psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", f"host={ADDRESS} user=postgres connect_timeout=2")


class Writer(threading.Thread):
    """A client: one row after the other, each committed by itself; it comes back when it has lost the database."""

    def __init__(self, ground: Database, first: int) -> None:
        super().__init__(daemon=True)
        self._ground = ground
        self._next = first
        self._ending = threading.Event()
        self.committed: list[int] = []
        self.times: list[float] = []
        """Of the commits, by the monotonic clock."""

    def run(self) -> None:
        while not self._ending.is_set():
            pipe = subprocess.PIPE
            client = self._ground.lab.popen(
                CLIENT, _PSQL, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True, bufsize=1
            )
            try:
                self._write(client)
            except (BrokenPipeError, ValueError):
                time.sleep(0.05)
            finally:
                client.kill()
                client.wait()

    def _write(self, client: "subprocess.Popen[str]") -> None:
        assert client.stdin
        assert client.stdout
        while not self._ending.is_set():
            number = self._next
            self._next += 1  # never again, whatever becomes of it
            client.stdin.write(f"INSERT INTO written VALUES ({number}) RETURNING number;\n")
            client.stdin.flush()
            if int(client.stdout.readline()) == number:  # ValueError at the end of the connection
                self.committed.append(number)
                self.times.append(time.monotonic())

    def end(self) -> None:
        self._ending.set()
        self.join(_PATIENCE_S)


def power_off(ground: Database, active: str, first: int) -> tuple[int, int, float]:
    """One, under load. Rows that were committed, those lost or doubled, and how long nothing was committed."""
    writers = [Writer(ground, first + number * 1_000_000) for number in range(_WRITERS)]
    for writer in writers:
        writer.start()
    wait_for(lambda: all(writer.committed for writer in writers), _PATIENCE_S, "all write")
    time.sleep(_LOAD_S)
    # The disk goes first, in the middle of whatever it does: what the kernel holds back for it is not written any more.
    ground.lab.set_disk_fault(active, "hang")
    at = time.monotonic()
    ground.lab.power_off(active)
    ground.lab.heal()  # its disk is well again when it is next switched on
    # A client may hang on a connection that is no more until TCP gives up: it is told so here.
    ground.lab.exec(CLIENT, ["ss", "--kill", "--tcp", "dst", ADDRESS])
    wait_for(lambda: all(writer.times[-1] > at + T_S for writer in writers), _PATIENCE_S, "all write again")
    back = min(moment for writer in writers for moment in writer.times if moment > at + T_S / 2)
    for writer in writers:
        writer.end()
    rows = [int(row) for row in ground.ask("SELECT number FROM written")]
    committed = {number for writer in writers for number in writer.committed}
    lost = committed - set(rows)
    doubled = len(rows) - len(set(rows))
    return len(committed), len(lost) + doubled, back - at


def measure(rounds: int, application: str, name: str) -> list[Figure]:
    what = f"PostgreSQL as {name}, power-off under load"
    wrong: list[float] = []
    away: list[float] = []
    rows = 0
    with Database(application) as ground:
        ground.fill()
        for number in range(rounds):
            progress(f"{what}: {number + 1} of {rounds}")
            active = NODES[number % 2]
            committed, bad, gone = power_off(ground, active, number * 100_000_000)
            rows += committed
            wrong.append(bad)
            away.append(gone)
            ground.power_on(active)
            ground.wait_states({active: "STOPPED", other(active): "STARTED"})
    return [
        Figure(f"{what}: committed rows lost or doubled", "", wrong, worst=0, exact=True, note=f"{rows} committed"),
        Figure(f"  nothing committed for (T = {T_S:g} s)", "s", away, digits=2),
    ]


def ocf(rounds: int) -> list[Figure]:
    return measure(rounds, _OCF, "ocf:heartbeat:pgsql")


def app(rounds: int) -> list[Figure]:
    return measure(rounds, _FORKING, "app of type forking")


def unsafe(rounds: int) -> list[Figure]:
    """The twin: a database that does not wait for the disk loses rows here, so the power-off is one."""
    lazy = f"{_OPTIONS} -c synchronous_commit=off -c wal_writer_delay=1s"
    found = measure(rounds, _FORKING.replace(_OPTIONS, lazy), "app without synchronous_commit")[0]
    if not any(found.samples):
        raise AssertionError("nothing was lost: what the node had not written is still there")
    return [
        Figure("  the same without synchronous_commit: rows lost (some must be)", "", found.samples, note=found.note)
    ]
