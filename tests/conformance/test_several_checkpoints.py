"""Several checkpoints, kept over time: they say where and when a log was changed."""

import json
from collections import Counter

import pytest

import leasehold
from leasehold import FaultKind
from leasehold.adapters import codec
from leasehold.adapters.postgres.session import PostgresSession
from leasehold.adapters.sqlite.session import SQLiteSession

DAY_MS = 86_400_000
DAYS = [f"2023-11-{15 + number} 22:13:20Z" for number in range(6)]


class Diary:
    """A ledger with an execution a day, and a checkpoint at each day's end."""

    def __init__(self, ledger, clock, outsider):
        self.ledger = ledger
        self.outsider = outsider
        self.clock = clock
        self.ids = []
        self.lines = []

    def live(self, days):
        """Let so many days go by."""
        for _ in range(days):
            self.clock.advance(DAY_MS)
            self.ids.append(self.ledger.create_execution(actor="ann"))
            self.lines.append(self.ledger.checkpoint())
        return self

    def rewrite(self, day):
        """Rewrite the event of a day as an owner of the database can: all agrees."""
        stream = str(self.ids[day])
        query = "SELECT topic, state FROM stored_events WHERE originator_id = ?"
        (row,) = self.outsider.execute(query, stream)
        _, content = codec.split(row["state"])
        content = content.replace(b'"actor":"ann"', b'"actor":"bob"')
        sha256 = codec.hash_of(codec.FIRST_HASH, stream, 1, row["topic"], content)
        self.outsider.lift_the_guard()
        self.outsider.execute(
            "UPDATE stored_events SET state = ? WHERE originator_id = ?",
            b'{"sha256":"%b",%b' % (sha256.encode(), content[1:]),
            stream,
        )
        self.ledger.rebuild()
        assert self.ledger.verify().ok, "without checkpoints nothing is to be seen"

    def cut(self, days):
        """Cut the last days off, with their rows."""
        self.outsider.lift_the_guard()
        for execution_id in self.ids[-days:]:
            self.outsider.execute(
                "DELETE FROM stored_events WHERE originator_id = ?", str(execution_id)
            )
        del self.ids[-days:]
        self.ledger.rebuild()
        assert self.ledger.verify().ok, "without checkpoints nothing is to be seen"

    def faults(self, lines=None):
        """Hold the log against all lines."""
        report = self.ledger.verify(self.lines if lines is None else lines)
        assert {fault.kind for fault in report.faults} <= {FaultKind.CHECKPOINT}
        assert report.fault_count == len(report.faults)
        return report.faults


@pytest.fixture
def diary(shared_url, clock, outsider):
    with leasehold.open(shared_url, clock=clock, durability="normal") as ledger:
        yield Diary(ledger, clock, outsider)


def test_all_of_them_hold_where_nothing_was_changed(diary) -> None:
    diary.live(6)
    report = diary.ledger.verify(diary.lines)
    assert (report.ok, report.checkpoints) == (True, 6)
    mixed = [diary.lines[4], leasehold.Checkpoint.parse(diary.lines[0])]
    mixed.append(diary.lines[2].encode())
    assert diary.ledger.verify(iter(mixed)).checkpoints == 3
    assert diary.faults(diary.lines * 2) == ()


def test_a_rewriting_is_told_with_its_time_and_place(diary) -> None:
    diary.live(4).rewrite(2)
    diary.live(2)
    (fault,) = diary.faults()
    third, fourth = (json.loads(line)["position"] for line in diary.lines[2:4])
    assert fault.position == third
    assert fault.text.startswith(
        f"the checkpoint of {DAYS[2]} at position {third} does not hold: the hashes"
    )
    assert f"2 in a row do not hold, up to that of {DAYS[3]} at position {fourth}" in (
        fault.text
    )
    assert f"the last one before it that holds is that of {DAYS[1]} at" in fault.text
    assert f"the next one, of {DAYS[4]} at position " in fault.text
    assert "holds, so the change came before that one was made" in fault.text


def test_a_rewriting_after_the_last_one_fails_all_that_cover_it(diary) -> None:
    diary.live(3).rewrite(0)
    (fault,) = diary.faults()
    assert fault.position == json.loads(diary.lines[0])["position"]
    assert "3 in a row do not hold" in fault.text
    assert "none before it holds; none after it holds, so the change came when" in (
        fault.text
    )


def test_a_cut_is_told_with_the_last_one_that_holds(diary) -> None:
    diary.live(5).cut(2)
    (fault,) = diary.faults()
    assert fault.position == json.loads(diary.lines[3])["position"]
    assert "the log was cut" in fault.text
    assert f"the last one before it that holds is that of {DAYS[2]} at" in fault.text
    diary.ledger.create_execution()
    (fault,) = diary.faults(diary.lines[:4])
    assert fault.position == json.loads(diary.lines[3])["position"]


def test_two_changes_are_two_faults(diary) -> None:
    diary.live(2).rewrite(1)
    diary.live(2).rewrite(3)
    diary.live(2)
    faults = diary.faults()
    assert [fault.position for fault in faults] == [
        json.loads(diary.lines[day])["position"] for day in (1, 3)
    ]


def test_a_log_that_had_become_shorter_in_between_is_told(diary) -> None:
    lines = diary.live(3).lines
    shorter = {**json.loads(lines[0]), "at_ms": json.loads(lines[2])["at_ms"] + 1}
    (fault,) = diary.faults([*lines, json.dumps(shorter)])
    assert fault.position == shorter["position"]
    assert "had been cut in between" in fault.text
    assert f"comes after the one of {DAYS[2]} at position" in fault.text


def test_lines_that_contradict_each_other_cannot_both_hold(diary) -> None:
    diary.live(2)
    wrong = json.dumps({**json.loads(diary.lines[0]), "sha256": "0" * 64})
    (fault,) = diary.faults([*diary.lines, wrong])
    assert fault.position == json.loads(wrong)["position"]


def test_the_log_is_read_once_for_all_of_them(diary, monkeypatch) -> None:
    diary.live(6)
    counted = Counter()
    for session in (SQLiteSession, PostgresSession):

        def fetch_page(self, query, *, ask=session.fetch_page, **parameters):
            counted[query] += parameters.get("after") == 0
            return ask(self, query, **parameters)

        monkeypatch.setattr(session, "fetch_page", fetch_page)
    assert diary.ledger.verify(diary.lines).ok
    assert counted["log"] == 1


@pytest.mark.parametrize("wrong", ["{}", "", "nonsense", None, 5])
def test_the_one_that_is_none_is_named(wrong, diary) -> None:
    diary.live(2)
    with pytest.raises(leasehold.InvalidInputError, match="checkpoint 3 of those"):
        diary.ledger.verify([*diary.lines, wrong])


def test_none_at_all_are_refused(diary) -> None:
    with pytest.raises(leasehold.InvalidInputError, match="no checkpoint"):
        diary.ledger.verify([])
