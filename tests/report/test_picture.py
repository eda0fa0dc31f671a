"""What is drawn: a bar for each tenure, with its ticks, hatches and marks."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from report_samples import AT_MS, START_MS, execution, finding, refusal, story, tenure

from leasehold import Severity, TenureEnd, TenureOrigin
from leasehold.adapters.report import choosing, palette, timeline
from leasehold.adapters.report.choosing import Census, gravest
from leasehold.domain.findings import AuditCheck

SECOND = 1_000


def taken_over() -> tuple:
    """Two tenures: the first ran out, the second took over half a minute later."""
    return (
        tenure(epoch=1, ended_by=TenureEnd.EXPIRED, orphaned_ms=30_000, refusals=2),
        tenure(
            epoch=2,
            acquired_by=TenureOrigin.RECLAIM,
            worker_id="birch",
            renewals=3,
        ),
    )


def drawn_of(*stories):
    return timeline.draw(stories, AT_MS)


def test_a_tenure_is_a_bar_and_a_renewal_a_tick():
    first, second = taken_over()
    times = tuple(second.acquired_at_ms + n * 10 * SECOND for n in (1, 2, 3))
    picture = drawn_of(story(first, second, renewed_at_ms={second.lease_id: times}))
    (row,) = picture.rows
    assert [bar.style.name for bar in row.bars] == ["amber", "birch"]
    assert [len(bar.ticks) for bar in row.bars] == [0, 3]
    assert (picture.ticks, picture.renewals) == (3, 3)
    assert row.bars[0].right < row.bars[1].ticks[0] < row.bars[1].right
    assert row.levels == 1


def test_orphaned_time_is_hatched_from_the_end_to_the_take_over():
    first, second = drawn_of(story(*taken_over())).sheets[0].rows[0].bars
    left, width = first.hatched
    assert left == pytest.approx(first.right)
    assert left + width == pytest.approx(second.left)
    assert second.hatched is None


def test_ends_and_take_overs_are_marked():
    first, second = drawn_of(story(*taken_over())).sheets[0].rows[0].bars
    assert (first.start_mark, first.end_mark) == ("", "expiry")
    assert (second.start_mark, second.end_mark) == ("takeover", "")
    resumed = tenure(acquired_by=TenureOrigin.RESUME_GRANT, ended_by=TenureEnd.OPERATOR)
    (bar,) = drawn_of(story(resumed)).sheets[0].rows[0].bars
    assert (bar.start_mark, bar.end_mark) == ("resume", "revocation")


def test_a_live_tenure_goes_on_until_the_audit():
    live = tenure(ended_at_ms=None, ended_by=None, expires_at_ms=AT_MS + 9_000)
    picture = drawn_of(story(live))
    (bar,) = picture.sheets[0].rows[0].bars
    assert bar.live
    assert bar.right == pytest.approx(picture.sheets[0].scale.place(AT_MS))
    assert any("live at the audit" in line for line in bar.details)


def test_an_execution_that_waits_now_is_hatched_until_the_audit():
    lost = tenure(ended_by=TenureEnd.EXPIRED)
    picture = drawn_of(story(lost, orphaned=True))
    (bar,) = picture.sheets[0].rows[0].bars
    assert sum(bar.hatched) == pytest.approx(picture.sheets[0].scale.place(AT_MS))
    assert any("taken over by nobody" in line for line in bar.details)
    ended = drawn_of(story(lost)).sheets[0].rows[0].bars[0]
    assert ended.hatched is None


def test_every_refusal_is_in_a_mark_and_close_ones_share_it():
    row = tenure(ended_by=TenureEnd.EXPIRED, orphaned_ms=300_000)
    at = row.ended_at_ms
    refused = [refusal(row, at + ms) for ms in (1_000, 1_100, 200_000)]
    refused.append(refusal(row, at + 280_000, worker_id=None, late_ms=None))
    (drawn,) = drawn_of(story(row, refusals=tuple(refused))).rows
    assert [mark.count for mark in drawn.marks] == [2, 1, 1]
    assert drawn.marks[0].details[0] == "2 refused writes"
    assert drawn.marks[1].details[0] == "Refused: complete by amber"
    assert "How late: 3 min 20 s after that lease had ended" in drawn.marks[1].details
    assert drawn.marks[2].details[0] == "Refused: complete by somebody unknown"
    assert drawn.marks[2].workers == ()


def test_many_refusals_make_a_bounded_number_of_marks():
    rows = [tenure(number) for number in range(1, 21)]
    stories = [
        story(
            row,
            refusals=tuple(
                refusal(row, row.acquired_at_ms + 600 * n) for n in range(1_000)
            ),
        )
        for row in rows
    ]
    picture = timeline.draw(stories, AT_MS)
    marks = [mark for row in picture.rows for mark in row.marks]
    for sheet in picture.sheets:
        there = sum(len(row.marks) for row in sheet.rows)
        assert there <= timeline.MARKS_PER_SHEET_MAX
    assert sum(mark.count for mark in marks) == 20_000
    assert all(len(mark.details) <= 10 for mark in marks)


def test_overlapping_tenures_lie_upon_each_other():
    first, second = tenure(epoch=1), tenure(epoch=2, acquired_at_ms=START_MS + 20_000)
    third = tenure(epoch=3)
    (row,) = drawn_of(story(first, second, third)).rows
    assert [bar.level for bar in row.bars] == [0, 1, 0]
    assert row.levels == 2
    assert "overlap" in row.has


def test_a_row_says_what_can_be_looked_for():
    first, second = taken_over()
    refused = (refusal(first, second.acquired_at_ms + 500),)
    (row,) = drawn_of(
        story(first, second, refusals=refused, severity=Severity.ERROR)
    ).rows
    assert set(row.has) == {
        "finding",
        "error",
        "takeover",
        "expiry",
        "orphan",
        "refusal",
    }
    assert drawn_of(story(tenure())).sheets[0].rows[0].has == ()
    assert row.workers == (0, 1)


def test_a_short_tenure_can_be_seen():
    short = tenure(ended_at_ms=START_MS + 1)
    (one, other) = drawn_of(story(short), story(tenure(2))).rows
    assert one.bars[0].width > 0.2
    assert one.bars[0].room == "none"
    assert other.bars[0].room == "name"


def test_renewals_beyond_the_bound_are_thinned_evenly():
    rows = [tenure(number, renewals=3_000) for number in range(1, 21)]
    stories = [
        story(
            row,
            renewed_at_ms={
                row.lease_id: tuple(row.acquired_at_ms + 20 * n for n in range(3_000))
            },
        )
        for row in rows
    ]
    picture = timeline.draw(stories, AT_MS)
    assert picture.renewals == 60_000
    assert 10_000 < picture.ticks <= timeline.TICKS_MAX
    ticks = next(picture.rows).bars[0].ticks
    gaps = [other - one for one, other in pairwise(ticks)]
    assert max(gaps) < 2.1 * min(gaps)


def test_nothing_to_draw_is_no_sheet():
    picture = timeline.draw((), AT_MS)
    assert picture.sheets == ()
    assert list(picture.rows) == []


def test_sheets_have_few_rows_and_a_scale_each():
    stories = [
        story(tenure(n, acquired_at_ms=START_MS + n * 3_600_000)) for n in range(1, 46)
    ]
    picture = timeline.draw(stories, AT_MS + 10**9)
    assert [len(sheet.rows) for sheet in picture.sheets] == [16, 16, 13]
    starts = [sheet.scale.start_ms for sheet in picture.sheets]
    assert starts == [START_MS + n * 3_600_000 for n in (1, 17, 33)]
    assert [row.story for row in picture.rows] == stories


def test_workers_look_the_same_each_time_and_no_two_have_one_code():
    names = [f"worker {n}" for n in range(60)]
    styles = palette.assign(names)
    assert styles == palette.assign(reversed(names))
    assert len({style.code for style in styles.values()}) == 60
    looks = [(style.colour, style.pattern) for style in styles.values()]
    assert len(set(looks[:28])) == 28
    crowd = palette.assign([f"{n:03}" for n in range(720)])
    codes = [style.code for style in crowd.values()]
    assert (codes[0], codes[25], codes[26], codes[701], codes[702]) == (
        "A",
        "Z",
        "AA",
        "ZZ",
        "AAA",
    )


def census_of(*rows) -> Census:
    census = Census()
    for row in rows:
        census.add(row)
    return census


def test_the_most_telling_executions_are_chosen_first():
    quiet, busy = tenure(1), tenure(2, refusals=3)
    latest, warned, wrong = tenure(5), tenure(3), tenure(4)
    grave = {execution(3): Severity.WARNING, execution(4): Severity.ERROR}
    census = census_of(quiet, busy, warned, wrong, latest)
    chosen = census.choose(grave)
    assert chosen == [execution(number) for number in (4, 3, 2, 5, 1)]
    assert (census.executions, census.tenures) == (5, 5)


def test_what_is_chosen_is_bounded():
    crowd = [tenure(number) for number in range(1, 1_001)]
    assert len(census_of(*crowd).choose({})) == choosing.EXECUTIONS_MAX
    long = [tenure(n, epoch) for n in range(1, 31) for epoch in range(1, 301)]
    census = census_of(*long)
    chosen = census.choose({})
    most = choosing.TENURES_PER_EXECUTION_MAX
    assert len(chosen) == choosing.TENURES_MAX // most
    assert census.tenures_of(chosen[0]) == 300


def test_an_error_outweighs_a_warning_about_the_same_execution():
    row = tenure()
    warning = finding(AuditCheck.ORPHAN, row, "")
    error = finding(AuditCheck.LATE_WRITE, row, "")
    assert gravest([error, warning]) == {row.execution_id: Severity.ERROR}
    assert gravest([warning, error]) == {row.execution_id: Severity.ERROR}
    nowhere = replace(error, execution_id=None)
    assert gravest([nowhere]) == {}


def test_a_bar_tells_who_held_what_and_how_it_ended():
    row = tenure(
        worker_instance_id="amber@host-1",
        renewals=2,
        max_renewal_gap_ms=12_000,
        min_headroom_ms=8_000,
        ended_by=TenureEnd.OPERATOR,
        orphaned_ms=4_000,
        refusals=1,
    )
    (bar,) = drawn_of(story(row, actors={row.lease_id: "dana"})).sheets[0].rows[0].bars
    assert bar.details == (
        "amber held epoch 1",
        f"Execution: {row.execution_id}, attempt 0",
        "Lane: render",
        "Instance: amber@host-1",
        "Acquired: 2026-01-05 09:00:00.000 UTC, claimed",
        "Ended: 2026-01-05 09:01:00.000 UTC, revoked by an operator (dana)",
        "Held for: 1 min",
        "Renewals: 2, at most 12 s apart, at least 8 s left",
        "Orphaned: for 4 s, then taken over",
        "Refused later: 1 write",
        f"Position: {row.event_id}",
    )


def test_a_refusal_tells_how_often_its_handle_was_refused():
    row = tenure()
    refused = (refusal(row, row.expires_at_ms + 2_000, refused_count=8),)
    (drawn,) = drawn_of(story(row, refusals=refused)).rows
    assert drawn.marks[0].details == (
        "Refused: complete by amber",
        f"Execution: {row.execution_id}",
        "At: 2026-01-05 09:01:02.000 UTC",
        "Presented: epoch 1, attempt 0",
        "Because: another lease is the current one",
        "How late: 2 s after that lease had ended",
        "Refused so far: 8 times with this handle",
        f"Position: {row.event_id + 500}",
    )
