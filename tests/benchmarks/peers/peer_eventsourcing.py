"""The bare `eventsourcing` application: an aggregate that is submitted, claimed, done.

It has no query for what waits: the ids go from the submitters to the claimers through
a queue in memory, so that a claim finds its aggregate without looking.
"""

import queue

import frame
from eventsourcing.application import Application
from eventsourcing.domain import Aggregate, event
from eventsourcing.persistence import IntegrityError


class Work(Aggregate):
    """A piece of work; each change is an event."""

    @event("Submitted")
    def __init__(self, payload):
        self.payload = payload
        self.worker_id = self.result = None

    @event("Claimed")
    def claim(self, worker_id):
        self.worker_id = worker_id

    @event("Completed")
    def complete(self, result):
        self.result = result


class Works:
    """One application for all threads."""

    def __init__(self, order):
        self.application = Application(
            env={
                "PERSISTENCE_MODULE": "eventsourcing.sqlite",
                "SQLITE_DBNAME": f"{order.folder}/events.db",
                "SQLITE_LOCK_TIMEOUT": "30",
            }
        )
        self.waiting = queue.SimpleQueue()

    def durability(self):
        pool = self.application.recorder.datastore.pool
        connection = pool.get_connection(is_writer=True)
        try:
            return frame.pragmas(connection._sqlite_conn)
        finally:
            pool.put_connection(connection)

    def caller(self):
        return self

    def submit(self):
        work = Work(frame.PAYLOAD.decode())
        self.application.save(work)
        self.waiting.put(work.id)

    def claim(self):
        try:
            work = self.application.repository.get(self.waiting.get_nowait())
            work.claim("worker")
            self.application.save(work)
        except (queue.Empty, IntegrityError):
            return None
        return work.id

    def complete(self, work_id):
        work = self.application.repository.get(work_id)
        work.complete(frame.RESULT.decode())
        self.application.save(work)

    def recover(self):
        """Do nothing: it knows no leases, and nothing tells what was claimed."""

    def close(self):
        self.application.close()


if __name__ == "__main__":
    frame.serve(Works)
