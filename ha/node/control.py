"""The control socket: what the commands ask of a running nmond (docs/internals.md, "Control socket").

Carries requests to a ``Desk`` and its answers back; it knows no services. A client that is slow, silent or gone
delays nothing: sockets never block, buffers and numbers are bounded, and what a client asked goes on without it.
"""

import json
import os
import select
import socket
import struct
from collections.abc import Callable
from typing import Any, Final, Protocol

from ha.node.log import Log
from ha.node.loop import Loop, Timer

MAX_REQUEST: Final = 64 * 1024
"""Bytes of a request line."""
MAX_CLIENTS: Final = 64
MAX_ANSWERS: Final = 4 << 20
"""Bytes that wait for a client to read them; beyond, it is cut off."""
REQUEST_TIMEOUT_S: Final = 30.0
"""A client that has not sent its request by then is cut off."""
READ_TIMEOUT_S: Final = 30.0
"""A client that takes nothing of its last answer for so long is cut off."""
_CREDENTIALS: Final = struct.Struct("3i")


class ControlError(Exception):
    """A request that is not understood. The text is one sentence for whoever asked."""


class Client:
    """One connection. ``say`` may be called at any time, also after the client has gone."""

    __slots__ = (
        "_inbox",
        "_outbox",
        "_server",
        "_socket",
        "_timer",
        "asked",
        "finished",
        "gone",
        "half_closed",
        "pid",
        "uid",
    )

    def __init__(self, server: "ControlServer", connection: socket.socket, pid: int, uid: int) -> None:
        self._server = server
        self._socket = connection
        self._inbox = bytearray()
        self._outbox = bytearray()
        self._timer: Timer | None = None
        self.pid = pid
        self.uid = uid
        self.asked = False
        self.finished = False
        """Its last answer was said."""
        self.gone = False
        self.half_closed = False
        """It said all it has to say, and still reads."""

    def say(self, answer: dict[str, Any]) -> None:
        """Send one line. With ``"final": true`` it is the last, and the connection ends when it is read."""
        if self.gone or self.finished:
            return
        self._outbox += json.dumps(answer, separators=(",", ":")).encode() + b"\n"
        if answer.get("final"):
            self.finished = True
        if len(self._outbox) > MAX_ANSWERS:
            self._server.cut(self, "it does not read its answers")
            return
        self._server.flush(self)

    def progress(self, service: str, text: str) -> None:
        self.say({"final": False, "service": service, "text": text})

    def refuse(self, text: str) -> None:
        self.say({"final": True, "ok": False, "text": text})


class Desk(Protocol):
    """Whoever answers."""

    def asked(self, client: Client, op: str, request: dict[str, Any]) -> None:
        """Answer through ``client``, now or later. Raises ControlError."""


class ControlServer:
    """Listens at ``path``, mode 0600, for root and for nmond's own user."""

    def __init__(self, loop: Loop, path: str, desk: Desk, log: Log) -> None:
        self._loop = loop
        self._path = path
        self._desk = desk
        self._log = log
        self._listener: socket.socket | None = None
        self._clients: set[Client] = set()
        self.requests = 0
        self.refused = 0
        self.cut_off = 0

    def listen(self, fd: int = -1) -> None:
        """Make the socket, or go on with the one inherited as ``fd``. Raises OSError.

        The caller holds nmond's lock, so a socket that is already there is a dead one's.
        """
        if fd >= 0:
            listener = socket.socket(fileno=fd)
            listener.set_inheritable(False)
        else:
            listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                self._bind(listener)
            except OSError:
                listener.close()
                raise
        listener.setblocking(False)
        self._listener = listener
        self._loop.watch(listener.fileno(), self._accept)

    def _bind(self, listener: socket.socket) -> None:
        # Bound under another name and renamed: a client never finds a socket that nobody listens on.
        fresh = f"{self._path}.new"
        try:
            os.unlink(fresh)
        except FileNotFoundError:
            pass
        before = os.umask(0o177)
        try:
            listener.bind(fresh)
        finally:
            os.umask(before)
        listener.listen(MAX_CLIENTS)
        os.replace(fresh, self._path)

    def fileno(self) -> int:
        return -1 if self._listener is None else self._listener.fileno()

    def close(self, *, unlink: bool = True) -> None:
        for client in list(self._clients):
            self._drop(client)
        if self._listener is not None:
            self._loop.unwatch(self._listener.fileno())
            self._listener.close()
            self._listener = None
            if unlink:
                try:
                    os.unlink(self._path)
                except FileNotFoundError:
                    pass

    @property
    def idle(self) -> bool:
        """Every answer that was said has been taken by the kernel."""
        return not any(client._outbox for client in self._clients)

    # -------------------------------------------------------------------------------------------- clients

    def _accept(self) -> None:
        assert self._listener is not None
        try:
            connection, _ = self._listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        except OSError as error:
            self._log.error(f"control socket: {error}")
            return
        connection.setblocking(False)
        credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        pid, uid, _ = _CREDENTIALS.unpack(credentials)
        client = Client(self, connection, pid, uid)
        if uid not in (0, os.geteuid()):
            self._turn_away(client, f"only root may ask this; you are uid {uid}")
            return
        if len(self._clients) >= MAX_CLIENTS:
            self._turn_away(client, f"nmond already serves {MAX_CLIENTS} clients; try again later")
            return
        self._clients.add(client)
        self._loop.watch(connection.fileno(), lambda: self._ready(client))
        client._timer = self._loop.after(REQUEST_TIMEOUT_S, lambda: self.cut(client, "it asked nothing"))

    def _turn_away(self, client: Client, text: str) -> None:
        self.refused += 1
        self._log.warning(f"control socket: pid {client.pid}, uid {client.uid} turned away: {text}")
        try:
            client._socket.send(json.dumps({"final": True, "ok": False, "text": text}).encode() + b"\n")
        except OSError as error:
            self._log.debug(f"control socket: pid {client.pid}: {error}")
        client.gone = True
        client._socket.close()

    def _ready(self, client: Client) -> None:
        try:
            data = client._socket.recv(MAX_REQUEST)
        except BlockingIOError:
            self.flush(client)
            return
        except OSError:
            data = b""
        if not data:
            # Whoever closed only its own direction after the request still waits for the answer.
            client.half_closed = client.asked and not _hung_up(client._socket)
            if client.half_closed:
                self.flush(client)
            else:
                self._drop(client)
            return
        if client.asked:
            self.cut(client, "it sent more than one request")
            return
        client._inbox += data
        end = client._inbox.find(b"\n")
        if end < 0 and len(client._inbox) <= MAX_REQUEST:
            return
        client.asked = True
        if client._timer is not None:
            client._timer.cancel()
            client._timer = None
        self._serve(client, bytes(client._inbox[:end]) if end >= 0 else None)
        client._inbox.clear()

    def _serve(self, client: Client, line: bytes | None) -> None:
        self.requests += 1
        try:
            if line is None or len(line) > MAX_REQUEST:
                raise ControlError(f"a request is at most {MAX_REQUEST} bytes")
            op, request = parse(line)
            self._desk.asked(client, op, request)
        except ControlError as error:
            self.refused += 1
            client.refuse(str(error))

    def flush(self, client: Client) -> None:
        """Send what the kernel takes of what waits; go on when it takes more."""
        if client.gone:
            return
        try:
            if client._outbox:
                del client._outbox[: client._socket.send(client._outbox)]
                if client._timer is not None:
                    client._timer.cancel()
                    client._timer = None
        except BlockingIOError:
            pass
        except OSError:
            self._drop(client)
            return
        fd = client._socket.fileno()
        if client._outbox:
            if client.half_closed:
                self._loop.watch(fd, lambda: self.flush(client), read=False, write=True)
            else:
                self._loop.watch(fd, lambda: self._ready(client), write=True)
            if client._timer is None:
                client._timer = self._loop.after(READ_TIMEOUT_S, lambda: self.cut(client, "it reads nothing"))
        elif client.finished:
            self._drop(client)
        elif client.half_closed:
            self._loop.unwatch(fd)
        else:
            self._loop.watch(fd, lambda: self._ready(client))

    def cut(self, client: Client, why: str) -> None:
        if client.gone:
            return
        self.cut_off += 1
        self._log.warning(f"control socket: pid {client.pid} was cut off: {why}")
        self._drop(client)

    def _drop(self, client: Client) -> None:
        if client.gone:
            return
        client.gone = True
        client._outbox.clear()
        if client._timer is not None:
            client._timer.cancel()
        self._clients.discard(client)
        self._loop.unwatch(client._socket.fileno())
        client._socket.close()


def _hung_up(connection: socket.socket) -> bool:
    poll = select.poll()
    poll.register(connection, 0)
    return any(events & select.POLLHUP for _, events in poll.poll(0))


def parse(line: bytes) -> tuple[str, dict[str, Any]]:
    """The operation and the whole request. Raises ControlError."""
    try:
        request = json.loads(line)
    except (ValueError, RecursionError):
        raise ControlError("the request is not a line of JSON") from None
    if not isinstance(request, dict) or not isinstance(request.get("op"), str):
        raise ControlError('a request is an object with an "op"')
    return request["op"], request


def field(request: dict[str, Any], name: str, kind: Callable[[Any], Any], default: Any) -> Any:
    """A field of the request, of the type of ``kind``. Raises ControlError."""
    value = request.get(name, default)
    if value is default:
        return default
    if type(value) is not kind:
        raise ControlError(f'"{name}" is not understood: {json.dumps(value)[:80]}')
    return value
