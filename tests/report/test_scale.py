"""Where times stand on the scale, where it is broken, and what is written beside it."""

from __future__ import annotations

from itertools import pairwise

import pytest
from report_samples import START_MS

from leasehold.adapters.report import scale, wording

MINUTE = wording.MINUTE_MS
HOUR = wording.HOUR_MS
DAY = wording.DAY_MS


def span(start: int, end: int) -> scale.Span:
    return (START_MS + start, START_MS + end)


def test_time_without_gaps_is_drawn_evenly():
    times = scale.fit([span(0, MINUTE), span(MINUTE // 2, 2 * MINUTE)])
    assert times.breaks == ()
    assert times.place(START_MS) == scale.LEFT
    assert times.place(START_MS + 2 * MINUTE) == pytest.approx(scale.RIGHT)
    middle = (scale.LEFT + scale.RIGHT) / 2
    assert times.place(START_MS + MINUTE) == pytest.approx(middle)


def test_a_long_gap_is_broken_and_both_sides_keep_one_scale():
    times = scale.fit([span(DAY, DAY + 3 * MINUTE), span(0, MINUTE)])
    (gap,) = times.breaks
    assert gap.length_ms == DAY - MINUTE
    assert gap.right - gap.left < 5
    before, after = times.stretches[0], times.stretches[2]
    assert (after.right - after.left) == pytest.approx(3 * (before.right - before.left))


def test_a_short_gap_is_drawn_as_long_as_it_is():
    times = scale.fit([span(0, 5 * MINUTE), span(6 * MINUTE, 9 * MINUTE)])
    assert times.breaks == ()


def test_a_scale_has_few_breaks_however_many_gaps_there_are():
    times = scale.fit([span(n**3 * DAY, n**3 * DAY + 1000) for n in range(40)])
    assert 0 < len(times.breaks) <= 12
    places = [times.place(START_MS + n**3 * DAY) for n in range(40)]
    assert places == sorted(places)
    assert scale.LEFT <= places[0] < places[-1] <= scale.RIGHT


def test_what_lies_outside_stands_at_the_edge():
    times = scale.fit([span(0, MINUTE)])
    assert times.place(0) == scale.LEFT
    assert times.place(START_MS + DAY) == pytest.approx(scale.RIGHT)


def test_a_single_moment_can_be_drawn():
    times = scale.fit([span(5, 5)])
    assert times.place(START_MS + 5) == scale.LEFT
    assert scale.labels(times)[0].text == "09:00:00.005"


@pytest.mark.parametrize(
    "length", [1, 40, 900, 8_000, MINUTE, 10 * MINUTE, HOUR, DAY, 400 * DAY, 9000 * DAY]
)
def test_labels_have_room_and_stand_at_their_times(length):
    times = scale.fit([span(0, length)])
    labels = scale.labels(times)
    assert 1 <= len(labels) <= 12
    places = [label.at for label in labels]
    assert all(other - one >= 9 for one, other in pairwise(places))
    assert len({(label.day, label.text) for label in labels}) == len(labels)


def test_labels_tell_the_day_where_it_changes():
    times = scale.fit([span(0, 30 * HOUR)])
    days = [label.day for label in scale.labels(times) if label.day]
    assert days == ["2026-01-05", "2026-01-06"]


def test_each_side_of_a_break_has_a_label_of_its_own_day():
    times = scale.fit([span(0, MINUTE), span(3 * DAY, 3 * DAY + MINUTE)])
    days = [label.day for label in scale.labels(times) if label.day]
    assert days == ["2026-01-05", "2026-01-08"]


def test_times_that_no_calendar_has_are_told_in_milliseconds():
    times = scale.fit([(2**60, 2**60 + 5_000)])
    assert scale.labels(times)[0].text.endswith(" ms")
    assert wording.time_text(2**60) == f"{2**60} ms"


@pytest.mark.parametrize(
    ("duration_ms", "text"),
    [
        (None, "–"),
        (0, "0 s"),
        (7, "7 ms"),
        (1_500, "1.5 s"),
        (1_234, "1.234 s"),
        (11_271, "11.3 s"),
        (30_000, "30 s"),
        (59_940, "59.9 s"),
        (59_999, "1 min"),
        (60_000, "1 min"),
        (125_000, "2 min 5 s"),
        (2 * HOUR + 5_000, "2 h"),
        (2 * HOUR + 3 * MINUTE, "2 h 3 min"),
        (3 * DAY + HOUR + MINUTE, "3 d 1 h"),
        (-1_500, "−1.5 s"),
        (1_499.6, "1.5 s"),
    ],
)
def test_durations_are_written_in_words(duration_ms, text):
    assert wording.lasting(duration_ms) == text


def test_what_cannot_be_seen_is_escaped_and_what_is_long_is_cut():
    assert wording.printable("a\u202eb\x1b\n") == "a\\u202eb\\x1b\\n"
    assert wording.printable("é “x” …") == "é “x” …"
    assert len(wording.printable("x" * 9_000)) == 501
