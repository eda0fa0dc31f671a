"""Comparing the tenures of an execution with those that a test expects."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final
from uuid import UUID

from leasehold.domain import limits
from leasehold.domain.states import TenureEnd, TenureOrigin

if TYPE_CHECKING:
    from leasehold.adapters.ledger import Ledger
    from leasehold.adapters.rows import TenureRow

Expected = str | Mapping[str, object]
"""A tenure as expected: in short, or by some columns of `TenureRow`.

In short: the worker, how it acquired the lease and how it lost it (or `live`), as in
`worker-1 claim expired`.
"""

_LIVE: Final = "live"
_ORIGINS: Final = tuple(origin.value for origin in TenureOrigin)
_ENDS: Final = (*(end.value for end in TenureEnd), _LIVE)
_WORDS: Final = 3


class AssertTenures:
    """Compares tenures with those expected: `assert_tenures(execution_id, […])`."""

    def __init__(self, ledger: "Ledger") -> None:
        """Read from a ledger."""
        self._ledger = ledger

    def __call__(self, execution_id: UUID, expected: Sequence[Expected]) -> None:
        """Assert that an execution has had exactly these tenures, in this order.

        Args:
            execution_id: The execution.
            expected: Each in short, `worker-1 claim expired`, or as a mapping of
                columns of `TenureRow` to their values; others are not looked at.

        Raises:
            AssertionError: It has had others; the message shows both, line by line.
            ValueError: An expectation is neither.
        """
        __tracebackhide__ = True
        rows = self._ledger.read.tenures(execution_id, limit=limits.LIMIT_MAX)
        checked = [_checked(one) for one in expected]
        if len(rows) == len(checked) and all(map(_matches, checked, rows)):
            return
        raise AssertionError(_told(execution_id, checked, rows))


def _checked(expected: Expected) -> Expected:
    if not isinstance(expected, str):
        return _checked_columns(expected)
    words = expected.rsplit(maxsplit=_WORDS - 1)
    if len(words) != _WORDS or words[1] not in _ORIGINS or words[2] not in _ENDS:
        message = (
            "a tenure is expected as '<worker> <origin> <end>'; the origin is one of "
            f"{', '.join(_ORIGINS)}; the end one of {', '.join(_ENDS)}; "
            f"got {expected!r}"
        )
        raise ValueError(message)
    return " ".join(words)


def _checked_columns(expected: Mapping[str, object]) -> Mapping[str, object]:
    from leasehold.adapters.rows import TenureRow  # noqa: PLC0415 - when it is needed

    columns = TenureRow.__slots__
    for name in expected:
        if name not in columns:
            message = f"a tenure has no {name!r}; it has {', '.join(columns)}"
            raise ValueError(message)
    return expected


def _matches(expected: Expected, row: "TenureRow") -> bool:
    if isinstance(expected, str):
        return expected == _in_short(row)
    return all(getattr(row, name) == value for name, value in expected.items())


def _in_short(row: "TenureRow") -> str:
    return f"{row.worker_id} {row.acquired_by} {row.ended_by or _LIVE}"


def _told(
    execution_id: UUID, expected: Sequence[Expected], rows: Sequence["TenureRow"]
) -> str:
    lines = [f"execution {execution_id} has other tenures (- expected, + recorded):"]
    for number in range(max(len(expected), len(rows))):
        wanted = expected[number] if number < len(expected) else None
        row = rows[number] if number < len(rows) else None
        if wanted is not None and row is not None and _matches(wanted, row):
            lines.append(f"    {_as_wanted(row, wanted)}")
            continue
        if wanted is not None:
            lines.append(f"  - {_wanted(wanted)}")
        if row is not None:
            lines.append(f"  + {_as_wanted(row, wanted)}")
    lines.append("recorded, with times since the first:")
    began_at_ms = rows[0].acquired_at_ms if rows else 0
    lines += [f"    {_in_full(row, began_at_ms)}" for row in rows] or ["    none"]
    return "\n".join(lines)


def _wanted(expected: Expected) -> str:
    return expected if isinstance(expected, str) else _shown(expected, expected.get)


def _as_wanted(row: "TenureRow", expected: Expected | None) -> str:
    """Show a row by what was expected of it."""
    if expected is None or isinstance(expected, str):
        return _in_short(row)
    return _shown(expected, lambda name: getattr(row, name))


def _shown(names: Mapping[str, object], value_of: Callable[[str], object]) -> str:
    return " ".join(f"{name}={_plain(value_of(name))}" for name in names)


def _plain(value: object) -> str:
    return str(value) if isinstance(value, UUID) else repr(value)


def _in_full(row: "TenureRow", began_at_ms: int) -> str:
    end = "live until" if row.ended_by is None else f"{row.ended_by} at"
    until_ms = row.expires_at_ms if row.ended_at_ms is None else row.ended_at_ms
    return (
        f"attempt {row.attempt_index}, epoch {row.lease_epoch}: {row.worker_id} "
        f"by {row.acquired_by} at {row.acquired_at_ms - began_at_ms} ms, "
        f"renewals {row.renewals}, refusals {row.refusals}, "
        f"{end} {until_ms - began_at_ms} ms"
    )
