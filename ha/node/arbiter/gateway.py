"""Asks an etcd cluster: over HTTP, one question after the other, at one endpoint after the other until one answers.

The standard library does it: four kinds of questions, a connection that is kept, certificates, and a deadline for the
whole of an answer. The libraries for etcd load gRPC, or ``requests`` for a single endpoint, and none bounds the time
of an attempt; ours must, or a member that hangs costs the lease.

Blocks, so nmond leaves it to a process of its own (``ha.node.arbiter.process``).
"""

import http.client
import json
import signal
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final, TypeVar

from ha.node.arbiter import answers
from ha.node.arbiter.answers import BadAnswerError, Header, Key, Put, RefusedError
from ha.node.config.etcd import Endpoint, EtcdOptions
from ha.node.files import read_regular
from ha.node.trust import require_trust

T = TypeVar("T")
MAX_PASSWORD: Final = 1024
_CLOSED: Final = (http.client.RemoteDisconnected, ConnectionError, ssl.SSLEOFError, ssl.SSLZeroReturnError)


class UnavailableError(Exception):
    """No endpoint answers. ``str()`` is a sentence that says what is wrong with each."""


class _FailedError(Exception):
    """One endpoint does not answer, or not as it should."""


class Gateway:
    """The cluster behind the endpoints. Every call raises UnavailableError or RefusedError."""

    def __init__(self, options: EtcdOptions, timeout: float = 1.0) -> None:
        self._options = options
        self._order = list(options.endpoints)
        """The one that answered last comes first."""
        self._lines: dict[Endpoint, http.client.HTTPConnection] = {}
        self._tls: ssl.SSLContext | None = None
        self._token = ""
        self.timeout = timeout
        """Seconds for one attempt."""
        self.cluster = 0
        """Only answers of this cluster count; 0: it is not known yet."""
        self.stranger = False
        """An endpoint answered for another cluster since the last ``identify``."""

    # -------------------------------------------------------------------------------------------- questions

    def range(self, prefix: str) -> tuple[Header, dict[str, Key]]:
        return self._ask("kv/range", answers.range_question(prefix), answers.range_answer, lambda found: found[0])

    def put(self, key: str, value: bytes, lease: int, modified: int = 0) -> Put:
        question = answers.put_question(key, value, lease, modified)
        return self._ask("kv/txn", question, answers.put_answer, lambda put: put.header)

    def grant(self, ttl: int) -> tuple[Header, int, int]:
        """Header, lease, seconds."""
        return self._ask("lease/grant", answers.grant_question(ttl), answers.grant_answer, lambda found: found[0])

    def keepalive(self, lease: int) -> tuple[Header, int]:
        """Header, seconds: 0 where there is no such lease any more."""
        question = answers.keepalive_question(lease)
        return self._ask("lease/keepalive", question, answers.keepalive_answer, lambda found: found[0])

    def revoke(self, lease: int) -> None:
        """One that is gone already is no error."""
        try:
            self._ask("lease/revoke", answers.revoke_question(lease), answers.status_answer, lambda header: header)
        except RefusedError as error:
            if error.code != answers.NOT_FOUND:
                raise

    def identify(self) -> dict[Endpoint, int | str]:
        """Which cluster each endpoint is of, or why that is not known."""
        self.stranger = False
        found: dict[Endpoint, int | str] = {}
        for endpoint in self._options.endpoints:
            try:
                data = self._post(endpoint, "maintenance/status", answers.status_question())
                found[endpoint] = answers.status_answer(data).cluster
            except (_FailedError, BadAnswerError, RefusedError) as error:
                found[endpoint] = str(error)
        return found

    # ------------------------------------------------------------------------------------- one after the other

    def _ask(self, what: str, question: dict[str, Any], read: Callable[[bytes], T], header: Callable[[T], Header]) -> T:
        failed: list[str] = []
        for endpoint in tuple(self._order):
            try:
                answer = read(self._authorized(endpoint, what, question))
            except (_FailedError, BadAnswerError) as error:
                self._close(endpoint)
                failed.append(f"{endpoint} {error}")
            except RefusedError as error:
                if error.code == answers.NOT_FOUND or error.code in answers.REFUSALS:
                    raise
                failed.append(f"{endpoint} says: {error}")
            else:
                other = header(answer).cluster
                if other == self.cluster:
                    return answer
                self.stranger = True
                failed.append(f"{endpoint} belongs to the etcd cluster {other:x}, not to {self.cluster:x}")
            self._order.remove(endpoint)
            self._order.append(endpoint)
        raise UnavailableError("; ".join(failed))

    def _authorized(self, endpoint: Endpoint, what: str, question: dict[str, Any]) -> bytes:
        """With a token where there is a user; a new one where etcd does not take the old one any more."""
        if not self._options.user:
            return self._post(endpoint, what, question)
        fresh = not self._token
        if fresh:
            self._token = self._authenticate(endpoint)
        try:
            return self._post(endpoint, what, question)
        except RefusedError as error:
            if fresh or error.code != answers.UNAUTHENTICATED:
                raise
        self._token = self._authenticate(endpoint)
        return self._post(endpoint, what, question)

    def _authenticate(self, endpoint: Endpoint) -> str:
        self._token = ""
        try:
            path = self._options.password_file
            require_trust(path, secret=True)
            password = read_regular(path, MAX_PASSWORD, follow=True).decode().strip("\r\n")
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise RefusedError(7, f"the password cannot be read: {self._options.password_file} {reason}") from None
        data = self._post(endpoint, "auth/authenticate", answers.token_question(self._options.user, password))
        return answers.token_answer(data)

    # -------------------------------------------------------------------------------------------- one endpoint

    def _post(self, endpoint: Endpoint, what: str, question: dict[str, Any]) -> bytes:
        """The body of an answer with status 200. Raises _FailedError, BadAnswerError, RefusedError."""
        try:
            with _deadline(self.timeout):
                return self._exchange(endpoint, what, json.dumps(question).encode())
        except TimeoutError:
            self._close(endpoint)
            raise _FailedError(f"does not answer within {self.timeout:.3g} s") from None
        except ssl.SSLCertVerificationError as error:
            self._close(endpoint)
            raise _FailedError(f"cannot be trusted: {error.verify_message}") from None
        except (OSError, http.client.HTTPException) as error:
            self._close(endpoint)
            raise _FailedError(f"does not answer: {getattr(error, 'strerror', None) or error or 'closed'}") from None

    def _exchange(self, endpoint: Endpoint, what: str, question: bytes) -> bytes:
        headers = {"Content-Type": "application/json"}
        if self._token:
            headers["Authorization"] = self._token
        kept = endpoint in self._lines
        try:
            status, data = self._once(endpoint, what, question, headers)
        except _CLOSED:
            if not kept:
                raise
            # The member closed a connection that nothing was said on for long: that says nothing about the member.
            self._close(endpoint)
            status, data = self._once(endpoint, what, question, headers)
        if status != http.client.OK:
            raise answers.failure(status, data)
        return data

    def _once(self, endpoint: Endpoint, what: str, question: bytes, headers: dict[str, str]) -> tuple[int, bytes]:
        line = self._lines.get(endpoint)
        if line is None:
            line = self._lines[endpoint] = self._connection(endpoint)
        line.request("POST", f"/v3/{what}", question, headers)
        response = line.getresponse()
        data = response.read(answers.MAX_ANSWER + 1)
        if len(data) > answers.MAX_ANSWER:
            raise BadAnswerError(f"answers more than {answers.MAX_ANSWER} bytes")
        response.read()
        return response.status, data

    def _connection(self, endpoint: Endpoint) -> http.client.HTTPConnection:
        if not endpoint.tls:
            return http.client.HTTPConnection(endpoint.host, endpoint.port, timeout=self.timeout)
        if self._tls is None:
            self._tls = tls_context(self._options)
        return http.client.HTTPSConnection(endpoint.host, endpoint.port, timeout=self.timeout, context=self._tls)

    def _close(self, endpoint: Endpoint) -> None:
        line = self._lines.pop(endpoint, None)
        if line is not None:
            line.close()

    def close(self) -> None:
        for endpoint in tuple(self._lines):
            self._close(endpoint)


def tls_context(options: EtcdOptions) -> ssl.SSLContext:
    """Certificates are verified, names of hosts too. Raises OSError (ssl.SSLError) for files that are none."""
    context = ssl.create_default_context(cafile=options.cacert or None)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if options.cert:
        context.load_cert_chain(options.cert, options.key)
    return context


@contextmanager
def _deadline(seconds: float) -> Iterator[None]:
    """TimeoutError is raised in the body after so long, however slowly an answer trickles in.

    The timeout of a socket counts from byte to byte. This process has one thread and no other use for the signal; where
    it has one (a test's own limit), that goes on afterwards.
    """

    def over(number: int, frame: FrameType | None) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, over)
    left, _ = signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        if left:
            signal.setitimer(signal.ITIMER_REAL, left)
