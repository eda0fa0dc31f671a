"""A PostgreSQL server's double on loopback, which breaks connections when told to.

It understands as much of the protocol as it takes to know which statement a client has
executed, so that a connection can be broken just before or just after it.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from outsiders import without_schema
from psycopg.conninfo import conninfo_to_dict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ENCRYPTION_REQUESTS = (80_877_103, 80_877_104)
CANCEL_REQUEST = 80_877_102
COMMIT = b"COMMIT"
WAIT_S_MAX = 20


class Wire:
    """One client's way to the server.

    Attributes:
        pid: The process of the server behind it.
        cut_at: Cut when the server has answered with this tag.
        is_mute: Whether nothing that the server answers is passed on.
    """

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self.client = client
        self.server = server
        self.pid = 0
        self.cut_at: bytes | None = None
        self.is_mute = False
        self._queries: dict[bytes, bytes] = {}
        self._bound = b""

    def executed(self, kind: bytes, body: bytes) -> bytes | None:
        """Return the query that a message has executed, if it does that."""
        if kind == b"P":
            name, query, _ = body.split(b"\0", 2)
            self._queries[name] = query
        elif kind == b"B":
            _, name, _ = body.split(b"\0", 2)
            self._bound = self._queries[name]
        elif kind == b"E":
            return self._bound
        elif kind == b"Q":
            return body.rstrip(b"\0")
        return None

    def close(self, *, server: bool = True) -> None:
        """End the client's side, and the server's if so asked."""
        for end in (self.client, self.server) if server else (self.client,):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


# What to do at a statement; returns whether to let it through.


def cut(wire: Wire) -> bool:
    """Break the connection: the server never sees the statement."""
    wire.close()
    return False


def lose_the_answer(wire: Wire) -> bool:
    """Break the connection when the server has done it and says so."""
    wire.cut_at = COMMIT
    return True


def swallow(wire: Wire) -> bool:
    """Break the client's side only: the server goes on waiting for it."""
    wire.close(server=False)
    return False


def hush(wire: Wire) -> bool:
    """Break nothing, but let the client hear no more."""
    wire.is_mute = True
    return True


class Proxy:
    """Passes everything on, until it is told otherwise by `at` and `accept`.

    Attributes:
        accept: What becomes of new clients: they are `served`, `refused`, or left in
            `silence`.
        wires: All the connections so far.
    """

    def __init__(self, url: str) -> None:
        self.accept = "served"
        self.wires: list[Wire] = []
        server_url, self._schema = without_schema(url)
        self._upstream = conninfo_to_dict(server_url)
        self._to_refuse = 0
        self._faults: list[tuple[bytes, Any]] = []
        self._at_message: tuple[str, int, Any] | None = None
        self._passed_on: Counter[str] = Counter()
        self._counting = threading.Lock()
        self._acting = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._start(self._listen)

    def url(self, **options: Any) -> str:
        """Name the same ledger behind the proxy."""
        user = self._upstream.get("user", "postgres")
        port = self._listener.getsockname()[1]
        query = {"schema": self._schema, "sslmode": "disable", **options}
        database = self._upstream.get("dbname", user)
        return f"postgresql://{user}@127.0.0.1:{port}/{database}?{urlencode(query)}"

    def at(self, words: bytes, act: Any) -> None:
        """Act once, at the next statement that begins with these words."""
        self._faults.append((words, act))

    def at_message(self, sender: str, number: int, act: Any) -> None:
        """Act once, at the message of a number from now, from 1.

        The sender is `client` or `server`; with several connections, all count. What
        the client sends is not passed on yet, and what the server sends it has done.
        """
        self._at_message = sender, number, act

    @contextmanager
    def counting_messages(self) -> Iterator[Counter[str]]:
        """Count the messages of a block by their sender."""
        before = Counter(self._passed_on)
        counted: Counter[str] = Counter()
        yield counted
        counted.update(self._passed_on - before)

    def forget(self) -> None:
        """Let all through, whatever was asked for; wait for what has begun."""
        self._faults.clear()
        self._at_message = None
        with self._acting:
            pass

    def refuse(self, count: int) -> None:
        """Refuse so many clients."""
        self._to_refuse = count

    @property
    def has_acted(self) -> bool:
        """Whether all that was asked for has been done."""
        return not self._faults and self._at_message is None

    def close(self) -> None:
        """End all connections."""
        self.accept = "refused"
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for wire in self.wires:
            wire.close()
        for thread in self._threads:
            thread.join(WAIT_S_MAX)

    def _start(self, work: Callable[..., None], *arguments: Any) -> None:
        def run() -> None:
            with contextlib.suppress(OSError, EOFError):
                work(*arguments)

        thread = threading.Thread(target=run, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _listen(self) -> None:
        while True:
            client, _ = self._listener.accept()
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self.accept == "refused" or self._to_refuse:
                self._to_refuse = max(0, self._to_refuse - 1)
                client.close()
                continue
            try:
                wire = Wire(client, self._connect())
            except OSError:  # The server is away.
                client.close()
                continue
            self.wires.append(wire)
            if self.accept == "served":
                self._start(self._serve, wire)

    def _connect(self) -> socket.socket:
        host = str(self._upstream.get("host", ""))
        port = int(self._upstream.get("port", 5432))
        if not host.startswith("/"):
            return socket.create_connection((host or "127.0.0.1", port))
        server = socket.socket(socket.AF_UNIX)
        try:
            server.connect(f"{host}/.s.PGSQL.{port}")
        except OSError:
            server.close()
            raise
        return server

    def _serve(self, wire: Wire) -> None:
        while True:
            opening = packet(wire.client)
            (code,) = struct.unpack("!I", opening[4:8])
            wire.server.sendall(opening)
            if code == CANCEL_REQUEST:
                wire.close()
                return
            if code not in ENCRYPTION_REQUESTS:
                break
            wire.client.sendall(exactly(wire.server, 1))
        self._start(self._answer, wire)
        try:
            while True:
                kind = exactly(wire.client, 1)
                message = packet(wire.client)
                query = wire.executed(kind, message[4:])
                if query is not None and not self._is_let_through(query, wire):
                    return
                if not self._is_passed_on("client", wire):
                    return
                wire.server.sendall(kind + message)
        except (OSError, EOFError):
            wire.close()

    def _is_let_through(self, query: bytes, wire: Wire) -> bool:
        for fault in self._faults:
            words, act = fault
            if query.startswith(words):
                self._faults.remove(fault)
                return bool(act(wire))
        return True

    def _is_passed_on(self, sender: str, wire: Wire) -> bool:
        with self._counting:
            self._passed_on[sender] += 1
            if self._at_message is None or self._at_message[0] != sender:
                return True
            _, number, act = self._at_message
            if number > 1:
                self._at_message = sender, number - 1, act
                return True
            self._acting.acquire()
            self._at_message = None
        try:
            return bool(act(wire))
        finally:
            self._acting.release()

    def _answer(self, wire: Wire) -> None:
        try:
            while True:
                kind = exactly(wire.server, 1)
                message = packet(wire.server)
                if kind == b"K":
                    (wire.pid,) = struct.unpack("!I", message[4:8])
                if kind == b"C" and message[4:].rstrip(b"\0") == wire.cut_at:
                    break
                if not self._is_passed_on("server", wire):
                    break
                if not wire.is_mute:
                    wire.client.sendall(kind + message)
        except (OSError, EOFError):
            pass
        wire.close()


def packet(source: socket.socket) -> bytes:
    """Read a message that begins with its length."""
    length = exactly(source, 4)
    return length + exactly(source, struct.unpack("!I", length)[0] - 4)


def exactly(source: socket.socket, count: int) -> bytes:
    """Read so many bytes."""
    read = b""
    while len(read) < count:
        more = source.recv(count - len(read))
        if not more:
            raise EOFError
        read += more
    return read


@contextmanager
def proxy_to(url: str) -> Iterator[Proxy]:
    """Run a proxy in front of a server for a block."""
    proxy = Proxy(url)
    try:
        yield proxy
    finally:
        proxy.close()
