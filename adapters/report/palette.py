"""Tell workers apart: a colour, a pattern on it, and a code of letters for each."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

COLOURS: Final = 7
"""How many colours the style sheet has; they are told apart by the colour-blind."""
PATTERNS: Final = 4
"""How many patterns, the plain one among them."""

_DARK_COLOURS: Final = frozenset({0, 2, 3})
"""Those on which a light pattern is seen best."""
_LETTERS: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@dataclass(frozen=True, slots=True)
class WorkerStyle:
    """How the bars of a worker look.

    Attributes:
        index: The worker's place among all.
        name: The worker.
        code: Letters for where the name has no room; no two workers have the same.
        colour: From 0.
        pattern: From 0, which is plain.
    """

    index: int
    name: str
    code: str
    colour: int
    pattern: int

    @property
    def veil(self) -> str:
        """Whether its pattern is drawn `light` or `dark` upon its colour."""
        return "light" if self.colour in _DARK_COLOURS else "dark"


def assign(workers: Collection[str]) -> dict[str, WorkerStyle]:
    """Give each worker its look, in the order of their names.

    Where there are more workers than colours, the colours come again with a pattern,
    and where there are more than colours with patterns, both come again: the code is
    what tells them apart then.
    """
    return {
        name: WorkerStyle(
            index=index,
            name=name,
            code=_code(index),
            colour=index % COLOURS,
            pattern=index // COLOURS % PATTERNS,
        )
        for index, name in enumerate(sorted(set(workers)))
    }


def _code(index: int) -> str:
    """Write A … Z, AA, AB and so on."""
    letters = ""
    left = index + 1
    while left:
        left, letter = divmod(left - 1, len(_LETTERS))
        letters = _LETTERS[letter] + letters
    return letters
