"""Connections that keep to one total deadline for each call, without a thread for it.

The timeouts of sockets are for each wait: an answer that dribbles in would never meet them. So
these sockets set theirs before every operation, to what is left of the call.
Only how long a name takes to resolve is the system's to limit (resolv.conf, `timeout`).
"""

import socket
import ssl
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from functools import cached_property
from ipaddress import IPv6Address, ip_address
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import SplitResult

import urllib3
from urllib3.connection import port_by_scheme

from workspaces.http_answer import ClosedEarlyError, WholeAnswer, read_answer

# Of one address of a server: another one may answer within the deadline.
MAX_CONNECT_SECONDS = 5.0
# A connection that was not used for so long is not used again. Servers and proxies close idle ones,
# most after a minute or more, and a write that meets the closing has no answer.
MAX_IDLE_SECONDS = 30.0
_MAX_CONNECTIONS_KEPT = 32
# Methods that say how long their body is, even if they have none.
_WITH_BODY = ("PUT", "POST", "PATCH")


class _Call(threading.local):
    """The call of this thread: when it ends, by time.monotonic()."""

    ends_at: float | None = None

    def seconds_left(self) -> float:
        """Return how long the call may still take. Raises TimeoutError."""
        if self.ends_at is None:
            raise RuntimeError("the connection is used outside of a call")
        left = self.ends_at - time.monotonic()
        if left <= 0:
            raise TimeoutError("the deadline has passed")
        return left


_call = _Call()


def seconds_left() -> float:
    """Return how much time is left of this thread's call. Raises TimeoutError where none is."""
    return _call.seconds_left()


class Deadline:
    """A call with a total deadline, as a context. One within another ends with the outer one."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._is_outer = False

    def __enter__(self) -> None:
        self._is_outer = _call.ends_at is None
        if self._is_outer:
            _call.ends_at = time.monotonic() + self._seconds

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._is_outer:
            _call.ends_at = None


class _Socket(socket.socket):
    """A socket whose every wait ends with the call. Its `sendall` is one wait."""

    def recv_into(self, *args: Any, **options: Any) -> int:
        self.settimeout(_call.seconds_left())
        return super().recv_into(*args, **options)

    def send(self, *args: Any, **options: Any) -> int:
        self.settimeout(_call.seconds_left())
        return super().send(*args, **options)

    def sendall(self, *args: Any, **options: Any) -> None:
        self.settimeout(_call.seconds_left())
        super().sendall(*args, **options)


class _SecureSocket(_Socket, ssl.SSLSocket):
    """The same over TLS, where `sendall` is several times `send`."""


class _Connection(urllib3.connection.HTTPConnection):
    """A connection over such a socket. Whole answers come by `ask`, at a third of the cost."""

    refuses_link_local = False
    _used_at = 0.0

    def ask(self, method: str, request: bytes, max_bytes: int) -> WholeAnswer:
        """Send a request, once, and return the answer. Raises HTTPError, OSError, BadAnswerError.

        Raises NewConnectionError where nothing was sent.
        """
        if self.sock is None:
            self.connect()
        self._used_at = time.monotonic()
        # Some answer what they do not want before they have read it.
        with suppress(BrokenPipeError, ConnectionResetError):
            self.sock.sendall(request)
        return read_answer(self.sock, method, max_bytes)

    def connect(self) -> None:
        """Connect, and shake hands over TLS. Raises NewConnectionError: nothing was sent."""
        try:
            super().connect()
        except OSError as error:
            raise urllib3.exceptions.NewConnectionError(self, str(error)) from error

    def _new_conn(self) -> socket.socket:
        error: OSError | None = None
        for family, kind, protocol, _, address in socket.getaddrinfo(
            self._dns_host, self.port, type=socket.SOCK_STREAM
        ):
            if self.refuses_link_local and is_link_local(str(address[0])):
                error = OSError("its address is link-local: no registry is there")
                continue
            sock = _Socket(family, kind, protocol)
            try:
                for option in self.socket_options or ():
                    sock.setsockopt(*option)
                sock.settimeout(min(MAX_CONNECT_SECONDS, _call.seconds_left()))
                sock.connect(address)
                # For the handshake of TLS, which comes next.
                sock.settimeout(_call.seconds_left())
                return sock
            except OSError as failed:
                sock.close()
                error = failed
        raise error or OSError("the server's name has no address")

    def putrequest(self, *args: Any, **options: Any) -> None:
        self._used_at = time.monotonic()
        super().putrequest(*args, **options)

    @property
    def is_connected(self) -> bool:
        is_fresh = time.monotonic() - self._used_at < MAX_IDLE_SECONDS
        return is_fresh and super().is_connected


class _SecureConnection(_Connection, urllib3.connection.HTTPSConnection):
    """The same over TLS."""


class Pool(urllib3.HTTPConnectionPool):
    """The connections to a server, for many threads."""

    ConnectionCls = _Connection
    # Looked at with each connection: a name may have another address each time.
    refuses_link_local = False

    def _new_conn(self) -> Any:
        connection: Any = super()._new_conn()
        connection.refuses_link_local = self.refuses_link_local
        return connection

    def ask(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str],
        body: bytes | None = None,
        *,
        max_bytes: int,
        may_repeat: bool = False,
    ) -> WholeAnswer:
        """Send a request, once, and return the whole answer; see `read_answer`.

        A server may close a kept connection at the moment at which it is used. With `may_repeat`
        the request is sent once more then: it makes no difference whether it was carried out.
        Raises HTTPError, of which NewConnectionError says that nothing was sent, OSError, and
        ValueError for what cannot be sent and for what is no answer.
        """
        request = self._make_request_bytes(method, target, headers, body)
        connection: Any = self._get_conn()
        was_kept = connection.sock is not None
        try:
            try:
                answer: WholeAnswer = connection.ask(method, request, max_bytes)
            except (ConnectionError, ClosedEarlyError):
                if not (may_repeat and was_kept):
                    raise
                connection.close()
                answer = connection.ask(method, request, max_bytes)
            if answer.is_last:
                connection.close()
        except BaseException:
            connection.close()
            raise
        finally:
            self._put_conn(connection)
        return answer

    def _make_request_bytes(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes | None
    ) -> bytes:
        lines = [f"{method} {target} HTTP/1.1", f"Host: {self._netloc}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        lines.append("Accept-Encoding: identity")
        if body is not None or method in _WITH_BODY:
            lines.append(f"Content-Length: {len(body or b'')}")
        for line in lines:
            if any(each in line for each in "\r\n\0"):
                raise ValueError("a header or an address has a line break")
        return "\r\n".join((*lines, "", "")).encode("latin-1") + (body or b"")

    @cached_property
    def _netloc(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        is_default = self.port in (None, port_by_scheme[self.scheme])
        return host if is_default else f"{host}:{self.port}"


class _SecurePool(Pool, urllib3.HTTPSConnectionPool):
    """The same over TLS."""

    ConnectionCls = _SecureConnection


def is_link_local(address: str) -> bool:
    """Whether an address is of a link, where the machines of clouds find their credentials."""
    parsed = ip_address(address.partition("%")[0])
    mapped = parsed.ipv4_mapped if isinstance(parsed, IPv6Address) else None
    return (mapped or parsed).is_link_local


def make_context(ca_file: Path | None) -> ssl.SSLContext:
    """Return the machine's authorities, and those of `ca_file`, to verify certificates by."""
    context = ssl.create_default_context()
    if ca_file is not None:
        context.load_verify_locations(ca_file)
    return context


def make_pool(
    address: SplitResult, ca_file: Path | None = None, *, refuses_link_local: bool = False
) -> Pool:
    """Return the connections to a server, for many threads.

    They are only used within a Deadline. `ca_file` has certificates of authorities to trust besides
    the machine's.
    """
    host, port = address.hostname or "", address.port
    options: dict[str, Any] = {"maxsize": _MAX_CONNECTIONS_KEPT, "retries": False}
    if address.scheme == "https":
        context = make_context(ca_file)
        context.sslsocket_class = _SecureSocket
        pool: Pool = _SecurePool(host, port, ssl_context=context, **options)
    else:
        pool = Pool(host, port, **options)
    pool.refuses_link_local = refuses_link_local
    return pool
