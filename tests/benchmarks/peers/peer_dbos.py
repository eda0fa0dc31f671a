"""DBOS on SQLite: a workflow without steps, enqueued and run by its own worker.

It leaves SQLite's journal as it is, a rollback journal. The file is switched to a
write-ahead log here before DBOS sees it, which it keeps: that is faster.
"""

import sqlite3
import time

import frame
from dbos import DBOS

QUEUE = "work"


class Workflows:
    """DBOS has one instance in a process."""

    def __init__(self, order):
        self.claims_s = []
        self.handler = None
        path = f"{order.folder}/dbos.sqlite"
        connection = sqlite3.connect(path)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.close()
        DBOS(
            config={
                "name": "peer",
                "system_database_url": f"sqlite:///{path}",
                "application_version": "1",
                "executor_id": "one",
                "console_log_level": "ERROR",
            }
        )

        @DBOS.workflow(name="work")
        def work(payload):
            self.handler()
            return frame.RESULT.decode()

        self.work = work

    def durability(self):
        with self.database.engine.connect() as connection:
            return frame.pragmas(connection.connection.driver_connection)

    @property
    def database(self):
        from dbos._dbos import _get_dbos_instance

        return _get_dbos_instance()._sys_db

    def start(self, handler, concurrency):
        self.handler = handler
        DBOS.launch()
        DBOS.register_queue(
            QUEUE, worker_concurrency=concurrency, polling_interval_sec=0.001
        )

    def submit(self):
        DBOS.enqueue_workflow(QUEUE, self.work, frame.PAYLOAD.decode())

    def settle(self):
        while DBOS.list_workflows(status=["ENQUEUED", "PENDING"], limit=1):
            time.sleep(0.001)

    def close(self):
        DBOS.destroy(destroy_registry=True)


if __name__ == "__main__":
    frame.serve(Workflows)
