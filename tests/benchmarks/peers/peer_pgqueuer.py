"""pgqueuer on PostgreSQL: jobs enqueued, and run by its own manager.

It takes and acknowledges in batches: as many as there are callers. Its command line
runs it under uvloop, and so does this.
"""

import asyncio
from datetime import timedelta

import asyncpg
import frame
import uvloop
from pgqueuer import PgQueuer
from pgqueuer.types import QueueExecutionMode


class Jobs:
    """One manager, a pool of connections."""

    def __init__(self, order):
        self.order = order
        self.claims_s = []
        self.running = None

    async def start(self, handler, concurrency):
        self.pool = await asyncpg.create_pool(
            self.order.url, min_size=2, max_size=concurrency + 4
        )
        self.manager = PgQueuer.from_asyncpg_pool(self.pool)
        queries = self.manager.qm.queries
        if not await queries.has_table("pgqueuer"):
            await queries.install()

        @self.manager.entrypoint("work")
        async def work(job):
            handler()

        queries.dequeue = frame.timed(queries.dequeue, self.claims_s)
        self.running = asyncio.create_task(
            self.manager.qm.run(
                batch_size=concurrency,
                # How often it looks for silent ones while there is nothing new.
                dequeue_timeout=timedelta(seconds=self.order.lease_s / 2),
                mode=QueueExecutionMode.continuous,
                heartbeat_timeout=timedelta(seconds=self.order.lease_s),
            )
        )

    async def durability(self):
        async with self.pool.acquire() as connection:
            return await connection.fetchval(frame.SETTINGS)

    async def submit(self):
        await self.manager.qm.queries.enqueue("work", frame.PAYLOAD)

    async def settle(self):
        """Stop: its end writes the acknowledgements that wait for a batch to fill."""
        self.manager.shutdown.set()
        await self.running

    async def close(self):
        if self.running is not None:
            await self.settle()
            await self.pool.close()


if __name__ == "__main__":
    frame.serve(Jobs, uvloop.run)
