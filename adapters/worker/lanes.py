"""Taking work from several lanes, each in its turn."""

from collections.abc import Callable, Sequence

Take = Callable[[str, int], int]
"""Take at most so many from a lane, and start them; return how many there were."""


class LaneTurns:
    """Shares what is free among lanes.

    A lane that has work waits for no other one: with n lanes that have work, each gets
    every n-th execution, also where one slot becomes free at a time. What a lane does
    not need goes to the others.
    """

    def __init__(self, lanes: Sequence[str]) -> None:
        """Begin with the first lane."""
        self._lanes = tuple(lanes)
        self._first = 0

    def take(self, free: int, take: Take) -> int:
        """Take what there is, at most as much as is free; return how much it was.

        Raises:
            StoreError: The store could not do it; what was taken before is started.
        """
        count = len(self._lanes)
        left = free
        fuller: list[str] = []
        order = [(self._first + place) % count for place in range(count)]
        for place, index in enumerate(order):
            if not left:
                break
            share = -(-left // (count - place))  # Rounded up.
            taken = take(self._lanes[index], share)
            left -= taken
            if taken:
                self._first = (index + 1) % count
            if taken == share:
                fuller.append(self._lanes[index])
        for lane_id in fuller:
            if left:
                left -= take(lane_id, left)
        return free - left
