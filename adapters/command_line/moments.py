"""Read what people type for a place in the log: a position, a time, or now."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import leasehold
from leasehold.adapters.command_line import output

NOW: Final = "now"

_DIGITS_MAX: Final = 18
_POSITION: Final = re.compile(rf"[0-9]{{1,{_DIGITS_MAX}}}", re.ASCII)
_AT_MS: Final = re.compile(rf"@([0-9]{{1,{_DIGITS_MAX}}})", re.ASCII)
_DATE_CHARACTERS: Final = 10
_NO_PLACE: Final = (
    "no place in the log: give a position (12), a time with its zone "
    "(2025-01-01T09:00:40Z), a time in ms (@1735722040000) or now"
)
_NO_TIME: Final = (
    "no time: give one with its zone (2025-01-01T09:00:40Z) or in ms (@1735722040000)"
)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Moment:
    """A place in the log; without either, that is now.

    Attributes:
        position: What lies beyond it has not happened yet.
        at_ms: What happened later has not happened yet.
    """

    position: int | None = None
    at_ms: int | None = None

    def __str__(self) -> str:
        """Say it in words."""
        if self.position is not None:
            return f"position {self.position}"
        return NOW if self.at_ms is None else output.time_text(self.at_ms)


def parse(text: str) -> Moment:
    """Read a position, `@` with a time in ms, an ISO 8601 time with its zone, or `now`.

    Raises:
        InvalidInputError: It is none of these.
    """
    if text == NOW:
        return Moment()
    if _POSITION.fullmatch(text):
        return Moment(position=int(text))
    return Moment(at_ms=_time_ms(text, _NO_PLACE))


def parse_time(text: str) -> int:
    """Read `@` with a time in ms or an ISO 8601 time with its zone; return the ms.

    Raises:
        InvalidInputError: It is neither.
    """
    return _time_ms(text, _NO_TIME)


def _time_ms(text: str, wrong: str) -> int:
    at_ms = _AT_MS.fullmatch(text)
    if at_ms is not None:
        return int(at_ms[1])
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        message = f"{text!r} is {wrong}"
        raise leasehold.InvalidInputError(message) from None
    if moment.tzinfo is None:
        written = text if len(text) > _DATE_CHARACTERS else f"{text}T00:00"
        message = f"{text!r} has no zone: write {written}Z for UTC"
        raise leasehold.InvalidInputError(message)
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def check_reached(moment: Moment, ledger: leasehold.Ledger) -> None:
    """Refuse a position that the log has not come to.

    Raises:
        InvalidInputError: Nothing stands there, or it is not settled yet.
    """
    if moment.position is None:
        return
    settled = ledger.read.settled_position()
    if moment.position > settled:
        message = (
            f"the log goes up to position {settled}, and {moment.position} is beyond "
            "it; a time in ms is written with an @ before it"
        )
        raise leasehold.InvalidInputError(message)


def parse_position(text: str, ledger: leasehold.Ledger) -> int:
    """Read a position of a log, or `now` for its last one that is settled.

    Raises:
        InvalidInputError: It is neither, or lies beyond the end of the log.
    """
    if text == NOW:
        return ledger.read.settled_position()
    if not _POSITION.fullmatch(text):
        message = (
            f"{text!r} is no position: `leasehold history ID` shows those of an "
            "execution; 0 is before all events and now is the end of the log"
        )
        raise leasehold.InvalidInputError(message)
    moment = Moment(position=int(text))
    check_reached(moment, ledger)
    return int(text)
