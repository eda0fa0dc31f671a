"""persist-queue's SQLiteAckQueue: put, get, ack. One object for all threads."""

import frame
import persistqueue


class AckQueue:
    """Reading and writing have a connection each."""

    def __init__(self, order):
        self.queue = persistqueue.SQLiteAckQueue(
            order.folder, multithreading=True, timeout=30
        )

    def durability(self):
        return frame.pragmas(self.queue._putter)

    def caller(self):
        return self

    def submit(self):
        self.queue.put(frame.PAYLOAD)

    def claim(self):
        try:
            return self.queue.get(block=False, raw=True)
        except persistqueue.Empty:
            return None

    def complete(self, item):
        self.queue.ack(item)

    def recover(self):
        """Do nothing: whoever opens the queue puts back all that is not done."""

    def close(self):
        self.queue.close()


if __name__ == "__main__":
    frame.serve(AckQueue)
