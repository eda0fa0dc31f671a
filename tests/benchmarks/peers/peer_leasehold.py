"""leasehold, by its calls or with its worker, on SQLite or PostgreSQL."""

import threading

import frame

import leasehold


class Leasehold:
    """Creates, claims and completes executions."""

    def __init__(self, order):
        url = order.url or f"sqlite:///{order.folder}/ledger.db"
        self.ledger = leasehold.open(url, durability=order.durability)
        self.on_postgres = bool(order.url)
        self.lease_ttl_ms = round(order.lease_s * 1000)

    def durability(self):
        if self.on_postgres:
            facts = self.ledger.read.store_facts()
            names = ("fsync", "synchronous_commit")
            return ", ".join(f"{name} {facts[name]}" for name in names)
        return frame.pragmas(self.ledger._store._transactions._writer.driver)

    def submit(self):
        self.ledger.create_execution(payload=frame.PAYLOAD)

    def close(self):
        self.ledger.close()


class ByCalls(Leasehold):
    """A ledger is for all threads."""

    def caller(self):
        return self

    def claim(self):
        return self.ledger.claim(worker_id="worker", lease_ttl_ms=self.lease_ttl_ms)

    def complete(self, handle):
        self.ledger.complete(handle, frame.RESULT)

    def recover(self):
        """Do nothing: a claim takes over what has run out."""


class ByWorker(Leasehold):
    """The worker claims as many as it has slots free."""

    worker = None

    def start(self, handler, concurrency):
        def handle(context):
            handler()
            return frame.RESULT

        self.claims_s = []
        self.ledger.claim_many = frame.timed(self.ledger.claim_many, self.claims_s)
        self.worker = leasehold.Worker(
            self.ledger,
            handle,
            worker_id="worker",
            concurrency=concurrency,
            lease_ttl_ms=self.lease_ttl_ms,
        )
        self.thread = threading.Thread(target=self.worker.run)
        self.thread.start()

    def settle(self):
        self.worker.stop()
        self.thread.join()

    def close(self):
        if self.worker is not None:
            self.settle()
        super().close()


def make(order):
    """Return the shape that was asked for."""
    return (ByWorker if order.shape == "worker" else ByCalls)(order)


if __name__ == "__main__":
    frame.serve(make)
