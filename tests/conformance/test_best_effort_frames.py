"""Best-effort frames: rows only, trimmed to what the recent rate is worth."""

import math

import pytest

import leasehold


@pytest.fixture
def kept(sql):
    def read(mode="best_effort"):
        rows = sql(
            "SELECT payload FROM stream_frame WHERE mode = ? ORDER BY ts_ms, seq", mode
        )
        return [int(row["payload"]) for row in rows]

    return read


def expected_rows(gaps_ms, mode):
    """Say which frames stay, by the formula of the contract, computed anew."""
    rate, rows = 0.0, []
    for number, gap in enumerate(gaps_ms):
        if number:
            rate = mode.ema_alpha * (1000 / max(1, gap)) + (1 - mode.ema_alpha) * rate
        wanted = 2 * math.ceil(rate * mode.ttl_ms / 1000)
        keep = max(mode.maxlen_floor, min(mode.maxlen_ceiling, wanted))
        rows = [*rows, number][-keep:]
    return rows


CASES = {
    "the floor holds without a rate": (
        [0, 60_000, 60_000, 60_000],
        {"ttl_ms": 1, "maxlen_floor": 2, "maxlen_ceiling": 9, "ema_alpha": 0.5},
    ),
    "the ceiling holds in a burst": (
        [0] + [1] * 30,
        {"ttl_ms": 60_000, "maxlen_floor": 2, "maxlen_ceiling": 7, "ema_alpha": 0.5},
    ),
    "the rate decides between the two": (
        [0] + [100] * 30,
        {"ttl_ms": 450, "maxlen_floor": 1, "maxlen_ceiling": 99, "ema_alpha": 0.25},
    ),
    "alpha one forgets all but the last gap": (
        [0, 10, 10, 10, 1_000, 10, 500, 500],
        {"ttl_ms": 35, "maxlen_floor": 1, "maxlen_ceiling": 99, "ema_alpha": 1.0},
    ),
    "a gap of nothing counts as one ms": (
        [0] + [0] * 20,
        {"ttl_ms": 8, "maxlen_floor": 1, "maxlen_ceiling": 99, "ema_alpha": 0.5},
    ),
    "the first frame has no rate": (
        [0, 4_000],
        {"ttl_ms": 3_000, "maxlen_floor": 1, "maxlen_ceiling": 99, "ema_alpha": 1.0},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_the_rows_kept_are_those_of_the_formula(
    case, ledger, clock, start, kept
) -> None:
    gaps, settings = CASES[case]
    mode = leasehold.BestEffort(**settings)
    handle = start(ttl=86_400_000)
    for number, gap in enumerate(gaps):
        clock.advance(gap)
        outcome = ledger.append_frame(
            handle, leasehold.Frame(b"%d" % number, mode=mode)
        )
        rows = expected_rows(gaps[: number + 1], mode)
        assert kept() == rows
        assert outcome.frame_count == len(rows)
        assert outcome.summary_version is None


def test_a_best_effort_frame_is_no_event(ledger, start, event_count, kept) -> None:
    handle = start()
    before = event_count()
    for number in range(5):
        ledger.append_frame(
            handle, leasehold.Frame(b"%d" % number, mode=leasehold.BestEffort())
        )
    assert event_count() == before
    assert kept() == [0, 1, 2, 3, 4]


def test_only_rows_of_this_mode_are_trimmed(ledger, clock, start, kept) -> None:
    handle = start()
    narrow = leasehold.BestEffort(ttl_ms=1, maxlen_floor=1, maxlen_ceiling=1)
    for number in range(6):
        clock.advance(50)
        ledger.append_frame(handle, leasehold.Frame(b"%d" % number))
        ledger.append_frame(handle, leasehold.Frame(b"%d" % number, mode=narrow))
    assert kept("durable") == [0, 1, 2, 3, 4, 5]
    assert kept() == [5]


def test_the_frames_of_another_attempt_are_left_alone(ledger, start, sql) -> None:
    narrow = leasehold.BestEffort(ttl_ms=1, maxlen_floor=1, maxlen_ceiling=1)
    for handle in (start(), start()):
        for _ in range(3):
            ledger.append_frame(handle, leasehold.Frame(b"1", mode=narrow))
    rows = sql("SELECT count(*) AS n FROM stream_frame GROUP BY execution_id")
    assert rows == [{"n": 1}, {"n": 1}]


def test_the_settings_of_the_contract_are_the_defaults() -> None:
    mode = leasehold.BestEffort()
    assert mode.ttl_ms == 60_000
    assert mode.maxlen_floor == 64
    assert mode.maxlen_ceiling == 16_384
    assert mode.ema_alpha == 0.2


@pytest.mark.parametrize(
    ("field", "settings"),
    [
        ("ema_alpha", {"ema_alpha": 0}),
        ("ema_alpha", {"ema_alpha": -0.1}),
        ("ema_alpha", {"ema_alpha": 1.01}),
        ("ema_alpha", {"ema_alpha": float("nan")}),
        ("maxlen_floor", {"maxlen_floor": 0}),
        ("maxlen_", {"maxlen_floor": 9, "maxlen_ceiling": 8}),
        ("ttl_ms", {"ttl_ms": 1.5}),
        ("ttl_ms", {"ttl_ms": -1}),
    ],
)
def test_settings_without_sense_are_refused(
    field, settings, ledger, start, snapshot
) -> None:
    handle = start()
    before = snapshot()
    with pytest.raises(leasehold.InvalidInputError, match=field):
        ledger.append_frame(
            handle, leasehold.Frame(b"1", mode=leasehold.BestEffort(**settings))
        )
    assert snapshot() == before


def test_best_effort_frames_pass_the_guard_too(ledger, start, mismatched, kept) -> None:
    frame = leasehold.Frame(b"1", mode=leasehold.BestEffort())
    with pytest.raises(leasehold.LeaseConflictError):
        ledger.append_frame(mismatched(start()), frame)
    assert kept() == []
