"""procrastinate on PostgreSQL: an async task, deferred and run by its own worker."""

import asyncio
import contextlib

import frame
import procrastinate


class Tasks:
    """One application, one worker, a pool of connections."""

    def __init__(self, order):
        self.order = order
        self.claims_s = []
        self.worker = None

    async def start(self, handler, concurrency):
        connector = procrastinate.PsycopgConnector(
            conninfo=self.order.url, min_size=2, max_size=concurrency + 4
        )
        self.app = procrastinate.App(connector=connector)

        @self.app.task(name="work")
        async def work(payload):
            handler()

        self.work = work
        await self.app.open_async()
        if not await self.app.check_connection_async():
            await self.app.schema_manager.apply_schema_async()
        manager = self.app.job_manager
        manager.fetch_job = frame.timed(manager.fetch_job, self.claims_s)
        # A notice that comes during a fetch is forgotten: the polling finds the job.
        self.worker = asyncio.create_task(
            self.app.run_worker_async(
                concurrency=concurrency,
                fetch_job_polling_interval=0.02,
                install_signal_handlers=False,
                update_heartbeat_interval=self.order.lease_s / 3,
            )
        )
        self.retrying = asyncio.create_task(self.retry_stalled())

    async def retry_stalled(self):
        """Do what its documentation has one write as a periodic task."""
        manager = self.app.job_manager
        while True:
            await asyncio.sleep(self.order.lease_s / 2)
            silent_s = self.order.lease_s
            for job in await manager.get_stalled_jobs(seconds_since_heartbeat=silent_s):
                await manager.retry_job(job)

    async def durability(self):
        row = await self.app.connector.execute_query_one_async(frame.SETTINGS)
        return row["settings"]

    async def submit(self):
        await self.work.defer_async(payload=frame.PAYLOAD.decode())

    async def settle(self):
        left = "SELECT count(*) AS n FROM procrastinate_jobs WHERE status <> %(done)s"
        ask = self.app.connector.execute_query_one_async
        # Nothing tells when the last one has been written.
        while (await ask(left, done="succeeded"))["n"]:  # noqa: ASYNC110
            await asyncio.sleep(0.001)

    async def close(self):
        if self.worker is None:
            return
        for task in (self.retrying, self.worker):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        await self.app.close_async()


if __name__ == "__main__":
    frame.serve(Tasks)
