"""Write times, durations and counts for the readers of a page."""

from datetime import UTC, datetime, timedelta
from typing import Final

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_TEXT_CHARACTERS_MAX: Final = 500
SECOND_MS: Final = 1_000
MINUTE_MS: Final = 60 * SECOND_MS
HOUR_MS: Final = 60 * MINUTE_MS
DAY_MS: Final = 24 * HOUR_MS
_UNITS: Final = (("d", DAY_MS), ("h", HOUR_MS), ("min", MINUTE_MS))
_EXACT_BELOW_MS: Final = 10 * SECOND_MS
NOTHING: Final = "–"
"""What stands where there is no value."""


def lasting(duration_ms: float | None) -> str:
    """Write a duration in its two largest units, such as `2 min 5 s`.

    Below ten seconds it is exact to the millisecond, below a minute to the tenth of a
    second.
    """
    if duration_ms is None:
        return NOTHING
    whole_ms = round(duration_ms)
    sign, left_ms = ("−" if whole_ms < 0 else ""), abs(whole_ms)
    if left_ms < SECOND_MS:
        return f"{sign}{left_ms} ms" if left_ms else "0 s"
    if left_ms < _EXACT_BELOW_MS:
        return f"{sign}{left_ms / SECOND_MS:.3f}".rstrip("0").rstrip(".") + " s"
    if left_ms < MINUTE_MS - SECOND_MS // 20:
        return f"{sign}{left_ms / SECOND_MS:.1f}".removesuffix(".0") + " s"
    left_ms = max(left_ms, MINUTE_MS)
    told: list[tuple[int, str]] = []
    for name, unit_ms in _UNITS:
        count, left_ms = divmod(left_ms, unit_ms)
        if count or told:
            told.append((count, name))
    told.append((left_ms // SECOND_MS, "s"))
    return sign + " ".join(f"{count} {name}" for count, name in told[:2] if count)


def moment(at_ms: int) -> datetime | None:
    """Return a time in UTC; None for one that no calendar has."""
    try:
        return _EPOCH + timedelta(milliseconds=at_ms)
    except OverflowError:
        return None


def time_text(at_ms: int) -> str:
    """Write a time in UTC, to the millisecond."""
    at = moment(at_ms)
    if at is None:
        return f"{at_ms} ms"
    return f"{at:%Y-%m-%d %H:%M:%S}.{at_ms % SECOND_MS:03d} UTC"


def number(count: int) -> str:
    """Write a whole number with its thousands apart."""
    return f"{count:,}"


def counted(count: int, noun: str, plural: str = "") -> str:
    """Write how many there are of something."""
    return f"{number(count)} {noun if count == 1 else plural or noun + 's'}"


def printable(text: str) -> str:
    """Escape what cannot be seen, and cut what is too long to be read.

    Among what cannot be seen are the characters that turn the direction of a text.
    """
    cut = text[:_TEXT_CHARACTERS_MAX]
    if not cut.isprintable():
        cut = "".join(
            one
            if one.isprintable()
            else one.encode("unicode_escape", "backslashreplace").decode("ascii")
            for one in cut
        )
    return cut + ("…" if len(text) > _TEXT_CHARACTERS_MAX else "")
