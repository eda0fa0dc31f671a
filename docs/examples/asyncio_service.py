"""A service in asyncio: takes requests on a socket, has them done, and answers.

    python asyncio_service.py [STORE]

A request is a line of JSON, {"id": …, "text": …}. The service submits it, says that it
is accepted, and answers when it has ended; it learns that from the log. The id is the
idempotency key: who asks again after a lost answer, or after the service was stopped,
gets the result of the same execution. Who hangs up has it cancelled.

Run as a program, it is its own client, and stops itself by SIGTERM in the middle.
"""

import asyncio
import contextlib
import json
import signal
import sys
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final, TypeAlias
from uuid import UUID

import leasehold
import leasehold.aio

STORE: Final = "sqlite:///asyncio_service.db"
LANE: Final = "shouting"
LEASE_TTL_MS: Final = 900
GRACE_S: Final = 0.2
AGAIN_S: Final = 1.0
REQUEST_S: Final = 5.0
RETRY_POLICY: Final = leasehold.RetryPolicy(backoff=leasehold.Fixed(delay_ms=50))
HOST: Final = "127.0.0.1"
ENDS: Final = (
    "execution.completed",
    "execution.failed",
    "execution.cancelled",
    "execution.expired",
)
NOT_A_REQUEST: Final = (
    AttributeError,
    LookupError,
    RecursionError,
    TimeoutError,
    TypeError,
    ValueError,
)

Message: TypeAlias = dict[str, str | None]
Streams: TypeAlias = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Service:
    """Answers requests as their executions end."""

    def __init__(self, ledger: leasehold.aio.AsyncLedger) -> None:
        """Use a ledger that is open."""
        self._ledger = ledger
        self._ended: dict[UUID, asyncio.Event] = {}
        self._stopped = asyncio.Event()

    def stop(self) -> None:
        """Let those who still wait ask again later."""
        self._stopped.set()

    async def follow(self, ends: leasehold.aio.AsyncSubscription) -> None:
        """Tell of each execution that ends, until the subscription is stopped."""
        while True:
            try:
                async for recorded in ends:
                    self._tell(recorded.event.execution_id)
            except leasehold.StoreError as error:
                print("the log cannot be read for the moment:", error)
                await asyncio.sleep(AGAIN_S)
            else:
                return

    def _tell(self, execution_id: UUID) -> None:
        ended = self._ended.pop(execution_id, None)
        if ended is not None:
            ended.set()

    async def _wait_for_end(self, execution_id: UUID) -> None:
        """Wait for an execution that may have ended long ago, or may do so just now.

        First it is said who waits, and then it is looked: no end goes by unnoticed.
        """
        ended = self._ended.setdefault(execution_id, asyncio.Event())
        row = await self._ledger.read.execution(execution_id)
        if row is not None and row.terminal_at_ms is not None:
            self._tell(execution_id)
        await ended.wait()

    async def answer(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Serve a connection: one request."""
        with contextlib.suppress(ConnectionError):
            try:
                async with asyncio.timeout(REQUEST_S):
                    line = await reader.readline()
                execution_id = await self._submit(line)
                await send(writer, {"status": "accepted"})
                message = await self._outcome(execution_id, reader)
            except leasehold.StoreError as error:
                message = {"status": "ask again later", "why": error.code}
            except leasehold.ConflictError:
                message = {"status": "refused", "why": "the id is of another request"}
            except NOT_A_REQUEST as error:
                message = {"status": "refused", "why": f"not a request: {error}"}
            await send(writer, message)
        writer.close()

    async def _submit(self, line: bytes) -> UUID:
        request = json.loads(line)
        return await self._ledger.create_execution(
            lane_id=LANE,
            payload=request["text"].encode(),
            idempotency_key=request["id"],
            namespace=LANE,
            retry_policy=RETRY_POLICY,
        )

    async def _outcome(
        self, execution_id: UUID, client: asyncio.StreamReader
    ) -> Message:
        """Wait until it has ended, the client hangs up, or the service stops."""
        ended = asyncio.create_task(self._wait_for_end(execution_id))
        hung_up = asyncio.create_task(client.read(1))
        stopped = asyncio.create_task(self._stopped.wait())
        waiting = (ended, hung_up, stopped)
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            if hung_up.done():
                # What has ended just now cannot be cancelled.
                with contextlib.suppress(leasehold.IllegalTransitionError):
                    await self._ledger.cancel_execution(
                        execution_id, actor="service", reason="the client hung up"
                    )
        finally:
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
        row = await self._ledger.read.execution(execution_id)
        if row is None or row.terminal_at_ms is None:
            return {"status": "ask again later"}
        result = None if row.result is None else row.result.decode()
        return {"status": row.public_state, "result": result}


async def send(writer: asyncio.StreamWriter, message: Message) -> None:
    """Write a line of JSON."""
    writer.write(json.dumps(message).encode() + b"\n")
    await writer.drain()


def shouting(
    word_s: float,
) -> Callable[[leasehold.AsyncWorkContext], Awaitable[bytes]]:
    """Make a handler that takes so long for a word."""

    async def shout(context: leasehold.AsyncWorkContext) -> bytes:
        words = context.payload.decode().split()
        try:
            await asyncio.sleep(word_s * len(words))
        except asyncio.CancelledError:
            print(f"a handler of {len(words)} words is cancelled")
            raise
        return " ".join(words).upper().encode()

    return shout


async def serve(url: str, word_s: float, port: "asyncio.Future[int]") -> None:
    """Serve until SIGTERM: accept no more, finish within the grace, answer all."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with (
        leasehold.aio.open(url) as ledger,
        ledger.subscribe(topics=ENDS) as ends,
        asyncio.TaskGroup() as tasks,
    ):
        service = Service(ledger)
        tasks.create_task(service.follow(ends))
        worker = leasehold.Worker(
            ledger.ledger,
            shouting(word_s),
            lanes=[LANE],
            worker_id="shouter",
            concurrency=100,
            lease_ttl_ms=LEASE_TTL_MS,
            grace_s=GRACE_S,
        )
        working = tasks.create_task(worker.run_async())

        def connected(
            reader: asyncio.StreamReader, writer: asyncio.StreamWriter
        ) -> None:
            # A task of the group, which waits for it.
            tasks.create_task(service.answer(reader, writer))

        server = await asyncio.start_server(connected, HOST)
        port.set_result(server.sockets[0].getsockname()[1])
        await stop.wait()
        server.close()
        worker.stop()
        await working
        service.stop()
        ends.stop()


@contextlib.asynccontextmanager
async def serving(url: str, word_s: float) -> AsyncIterator[int]:
    """Have the service run during the block, and stop it by a signal; give its port."""
    port = asyncio.get_running_loop().create_future()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(serve(url, word_s, port))
        yield await port
        signal.raise_signal(signal.SIGTERM)


async def connect(port: int, request_id: str, text: str) -> Streams:
    """Send a request."""
    streams = await asyncio.open_connection(HOST, port)
    await send(streams[1], {"id": request_id, "text": text})
    return streams


async def hear(streams: Streams) -> Message:
    """Return the next line of the service."""
    message: Message = json.loads(await streams[0].readline())
    return message


async def hear_all(streams: Streams) -> Message:
    """Return the last line of the service."""
    message = await hear(streams)
    if message["status"] == "accepted":
        message = await hear(streams)
    streams[1].close()
    return message


async def ask(port: int, request_id: str, text: str) -> Message:
    """Send a request, and return the answer."""
    return await hear_all(await connect(port, request_id, text))


async def main(url: str) -> bool:
    """Be the clients; say whether the audit finds no error."""
    run = uuid.uuid4().hex[:8]
    texts = {f"{run}/{n}": "hello " * n for n in range(1, 4)}
    long_id, long = f"{run}/long", "hello " * 1_000
    async with serving(url, word_s=0.1) as port:
        impatient = await connect(port, f"{run}/impatient", long)
        await hear(impatient)
        impatient[1].close()
        asked = (ask(port, request_id, text) for request_id, text in texts.items())
        for message in await asyncio.gather(*asked):
            print("answer:", message)
        print("asked once more:", await ask(port, *next(iter(texts.items()))))
        print("asked otherwise:", await ask(port, next(iter(texts)), "goodbye"))
        patient = await connect(port, long_id, long)
        await hear(
            patient
        )  # Accepted: it is not lost, whatever becomes of the service.
        await asyncio.sleep(0.1)  # Time to begin with it.
    print("stopped meanwhile:", await hear_all(patient))
    async with serving(url, word_s=0) as port:
        message = await ask(port, long_id, long)
    print("asked again after a restart:", message["status"])
    async with leasehold.aio.open(url) as ledger:
        counts = await ledger.read.counts(LANE)
        print("the lane:", {str(state): n for state, n in counts.items() if n})
        report = await ledger.audit()
    for finding in report.findings:
        print(f"{finding.severity}: {finding.text}")
    print("audit:", "ok" if report.ok else "not ok")
    return report.ok


if __name__ == "__main__":
    store = sys.argv[1] if sys.argv[1:] else STORE
    sys.exit(0 if asyncio.run(main(store)) else 1)
