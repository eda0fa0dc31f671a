"""huey's SqliteHuey with `fsync=True`: what a thread of its consumer does."""

import logging

import frame
import huey

logging.getLogger("huey").setLevel(logging.ERROR)


class Huey:
    """One object and one connection for all threads, as in the consumer."""

    def __init__(self, order):
        self.queue = huey.SqliteHuey(
            filename=f"{order.folder}/huey.db",
            fsync=order.durability == "full",
            timeout=30,
        )
        self.task = self.queue.task()(lambda payload: frame.RESULT)

    def durability(self):
        return frame.pragmas(self.queue.storage.conn)

    def caller(self):
        return self

    def submit(self):
        self.task(frame.PAYLOAD)

    def claim(self):
        return self.queue.dequeue()

    def complete(self, task):
        self.queue.execute(task)

    def recover(self):
        """Do nothing: what was taken is deleted."""

    def close(self):
        self.queue.storage.close()


if __name__ == "__main__":
    frame.serve(Huey)
