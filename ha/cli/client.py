"""A question to nmond over its control socket (docs/internals.md, "Control socket").

Knows how to ask and how to say that nobody answers; knows nothing of what an answer means. Uses the bare ``_socket``
module and leaves ``typing`` out: importing ``socket`` costs as much as the whole of ``service -s``.
"""

from __future__ import annotations

import json
from _socket import AF_UNIX, SOCK_STREAM, socket
from collections.abc import Callable, Iterator, Mapping

from ha.cli.guard import CliError

TYPE_CHECKING = False  # Type checkers take it for true, by its name.
if TYPE_CHECKING:
    from typing import Any

    from ha.node.layout import Layout

    Answer = dict[str, Any]
else:
    Answer = dict

ANSWER_TIMEOUT_S = 10.0
"""Longer than this without an answer to a plain question, and nmond hangs."""
MAX_REQUEST = 65_536
"""Bytes, from docs/internals.md."""
MAX_LINE = 16 * 1024 * 1024
"""Bytes. The status of 1,000 services of 16 nodes is about 2 MB."""
_CHUNK = 262_144


class ControlError(CliError):
    """nmond did not answer the question."""


class NotRunning(ControlError):
    """There is no nmond on this node."""


class NotAllowed(ControlError):
    """Only root may ask."""


class Silent(ControlError):
    """nmond is there and does not answer: it hangs, is stopped, or the machine is overloaded."""


class Refused(ControlError):
    """nmond answered, and its answer is no."""


def ask(layout: Layout, request: Mapping[str, object], timeout_s: float = ANSWER_TIMEOUT_S) -> Answer:
    """The final answer to ``request``.

    Raises NotRunning, NotAllowed, Silent, ControlError (broken conversation), or Refused where nmond answers
    ``"ok": false``.
    """
    for answer in converse(layout, request, timeout_s):
        if answer.get("final"):
            if not answer.get("ok"):
                raise Refused(str(answer.get("text") or "nmond refuses, and gives no reason"))
            return answer
    raise ControlError("nmond closed the connection before it had answered")


def converse(
    layout: Layout,
    request: Mapping[str, object],
    timeout_s: float = ANSWER_TIMEOUT_S,
    idle: Callable[[], None] | None = None,
) -> Iterator[Answer]:
    """Every line of the answer to ``request``, the final one included, as it comes.

    ``timeout_s`` bounds the wait for each line. With ``idle`` it is called after each such wait instead, and the
    wait begins anew; it raises to give up. Raises what ``ask`` does, except Refused.
    """
    data = json.dumps(request, separators=(",", ":")).encode() + b"\n"
    if len(data) > MAX_REQUEST:
        raise ControlError(f"the request is longer than {MAX_REQUEST} bytes")
    sock = socket(AF_UNIX, SOCK_STREAM)
    try:
        sock.settimeout(timeout_s)
        _connect(sock, layout, timeout_s)
        yield from _lines(sock, data, timeout_s, idle)
    finally:
        sock.close()


def _connect(sock: socket, layout: Layout, timeout_s: float) -> None:
    path = layout.control
    try:
        sock.connect(path)
    except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
        hint = f"start it with {layout.prefix}/ezha.init start"
        raise NotRunning(f"nmond is not running on this node: nobody listens on {path}; {hint}") from None
    except PermissionError:
        raise NotAllowed(f"only root may talk to nmond: permission denied on {path}") from None
    except (TimeoutError, BlockingIOError):
        raise Silent(f"nmond does not answer: no connection to {path} in {timeout_s:g} s") from None
    except OSError as error:
        raise ControlError(f"cannot talk to nmond on {path}: {error.strerror or error}") from None


def _lines(sock: socket, data: bytes, timeout_s: float, idle: Callable[[], None] | None) -> Iterator[Answer]:
    buffer = bytearray()
    try:
        sock.sendall(data)
        while True:
            try:
                chunk = sock.recv(_CHUNK)
            except TimeoutError:
                if idle is None:
                    raise
                idle()
                continue
            if not chunk:
                raise ControlError("nmond closed the connection before it had answered")
            searched = len(buffer)
            buffer += chunk
            while (end := buffer.find(b"\n", searched)) >= 0:
                answer = _parse(bytes(buffer[:end]))
                del buffer[: end + 1]
                searched = 0
                yield answer
                if answer.get("final"):
                    return
            if len(buffer) > MAX_LINE:
                raise ControlError(f"nmond's answer is longer than {MAX_LINE} bytes")
    except TimeoutError:
        raise Silent(f"nmond does not answer: nothing from it in {timeout_s:g} s") from None
    except (ConnectionResetError, BrokenPipeError):
        raise ControlError("nmond closed the connection before it had answered") from None


def _parse(line: bytes) -> Answer:
    try:
        answer = json.loads(line)
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise ControlError("nmond's answer is not what this version understands; is it of the same version?")
    return answer
