"""litequeue: put, pop, done. A queue object is a connection; all threads share one.

With an object for each of 16 threads they would wait for each other in SQLite, which
sleeps between its tries, and get less done than with the lock that they take turns at.
"""

import threading

import frame
import litequeue


class LiteQueue:
    """It sets synchronous NORMAL, and is told FULL here if that is asked for."""

    def __init__(self, order):
        self.lease_s = order.lease_s
        self.lock = threading.Lock()
        self.queue = litequeue.LiteQueue(f"{order.folder}/queue.db", timeout=30)
        self.queue.conn.execute(f"PRAGMA synchronous = {order.durability}")

    def durability(self):
        return frame.pragmas(self.queue.conn)

    def caller(self):
        return self

    def submit(self):
        with self.lock:
            self.queue.put(frame.PAYLOAD.decode())

    def claim(self):
        with self.lock:
            return self.queue.pop()

    def complete(self, message):
        with self.lock:
            self.queue.done(message.message_id)

    def recover(self):
        for message in self.queue.list_locked(self.lease_s):
            self.queue.retry(message.message_id)

    def close(self):
        self.queue.close()


if __name__ == "__main__":
    frame.serve(LiteQueue)
