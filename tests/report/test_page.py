"""The page as a file: whole, bounded, escaped, and closed to the network."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hostile import NAMES, TURNED, hostile_page
from report_samples import finding, gathered, report, story, tenure

import leasehold
from leasehold.adapters.report import choosing, facts, gathering
from leasehold.adapters.report.page import check_target, render, write_report
from leasehold.domain.findings import AuditCheck, AuditFinding

TEMPLATES = Path(__file__).parents[2] / "adapters" / "report" / "templates"
PAGE_BYTES_MAX = 16 * 1024 * 1024
USUAL_BYTES_MAX = 2 * 1024 * 1024
VOID = {"meta", "link", "br"}
ASKING = re.compile(r"https?:|//[a-z]|@import|fetch\(|innerHTML|eval\(")
WITH_ADDRESSES = ("href", "src", "action", "data", "poster", "srcset")


class Outline(HTMLParser):
    """Reads a page into its elements and its text, as a browser would."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)

    def attributes(self, name: str) -> list[str]:
        return [has[name] or "" for _, has in self.elements if name in has]

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())


def page_of(*stories, findings=(), **given) -> str:
    rows = tuple(row for one in stories for row in one.tenures)
    made = report(*findings, tenures=rows, **given)
    return render(made, gathered(*stories), title="Lease audit")


def test_every_element_is_closed_and_every_id_is_there_once():
    outline = Outline(page_of(story(tenure()), story(tenure(2))))
    assert outline.open == []
    ids = outline.attributes("id")
    assert len(set(ids)) == len(ids)
    named = {link[1:] for link in outline.attributes("href") if link[:1] == "#"}
    assert named - {"x-"} <= set(ids)
    labels = set(outline.attributes("aria-labelledby"))
    assert labels <= set(ids)


def test_a_page_asks_for_nothing():
    outline = Outline(hostile_page())
    tags = {tag for tag, _ in outline.elements}
    assert not tags & {"img", "iframe", "object", "base"}
    addresses = [
        has[name] or ""
        for _, has in outline.elements
        for name in WITH_ADDRESSES
        if name in has
    ]
    assert all(address.startswith(("#", "data:,")) for address in addresses)
    for name in ("page.css", "page.js"):
        source = (TEMPLATES / name).read_text(encoding="utf-8")
        assert not ASKING.search(source)
        assert not re.findall(r"url\((?!#)", source)


def test_the_policy_names_the_only_script_and_the_only_style():
    page = page_of(story(tenure()))
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', page)
    rules = dict(
        rule.strip().split(" ", 1) for rule in policy.replace("&#39;", "'").split(";")
    )
    assert rules["default-src"] == "'none'"
    for kind, tag in (("script-src", "script"), ("style-src", "style")):
        (source,) = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        sha256 = base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()
        assert rules[kind] == f"'sha256-{sha256}'"
    outline = Outline(page)
    assert "style" not in {name for _, has in outline.elements for name in has}
    assert not [name for _, has in outline.elements for name in has if name[:2] == "on"]


def test_values_of_the_store_are_text_wherever_they_stand():
    page = hostile_page()
    outline = Outline(page)
    assert outline.open == []
    assert [tag for tag, _ in outline.elements].count("script") == 1
    assert not [name for _, has in outline.elements for name in has if name[:2] == "on"]
    for name in NAMES:
        assert " ".join(name.split()) in outline.text
    assert page.count("<script>") == 1
    assert "\u202e" not in page
    assert "\x1b" not in page
    assert TURNED.encode("unicode_escape").decode() in outline.text


def test_an_empty_store_has_a_page():
    outline = Outline(page_of())
    assert "Nothing was ever claimed, and nothing is wrong" in outline.text
    assert "there is no tenure to draw" in outline.text
    assert "None of the 17 checks found anything." in outline.text
    assert not [has for _, has in outline.elements if has.get("class") == "sheet"]


def test_the_verdict_comes_first_and_says_how_grave_it_is():
    row = tenure()
    late = finding(AuditCheck.LATE_WRITE, row, "Too late.")
    orphan = finding(AuditCheck.ORPHAN, row, "Left alone.")
    for findings, tone, text in (
        ((late, orphan), "error", "1 error, 1 warning"),
        ((orphan, orphan), "warning", "No error, 2 warnings"),
        ((), "good", "No error, no warning"),
    ):
        page = page_of(story(row), findings=findings)
        assert f'<section class="verdict {tone}"' in page
        assert re.search(r"<h1[^>]*>(.*?)</h1>", page)[1] == text
    order = [page.index(f'id="{name}"') for name in ("verdict", "figures", "picture")]
    assert order == sorted(order)
    assert page.index('id="picture"') < page.index('id="findings"')


def test_a_page_says_what_was_audited():
    row = tenure()
    told = Outline(
        page_of(story(row), since_ms=1, rows=False, redacted_from=("ab12",))
    ).text
    assert "as of 2026-01-05 09:10:00.000 UTC" in told
    assert "before 1970-01-01 00:00:00.001 UTC were left out" in told
    assert "Projected rows were not held against their replay." in told
    assert "the original bundle has the digest ab12" in told


def test_a_finding_links_to_its_row_where_that_is_drawn():
    row, other = tenure(1), tenure(2)
    findings = (
        finding(AuditCheck.LATE_WRITE, row, "Here."),
        finding(AuditCheck.LATE_WRITE, other, "Elsewhere."),
        AuditFinding(
            AuditCheck.BROKEN_CHAIN,
            AuditCheck.BROKEN_CHAIN.severity,
            None,
            None,
            "Nowhere.",
        ),
    )
    page = page_of(story(row), findings=findings)
    assert f'<a href="#x-{row.execution_id}">' in page
    assert f'<a href="#x-{other.execution_id}">' not in page
    assert str(other.execution_id) in page
    assert "Nowhere." in page


def test_findings_that_are_not_shown_are_counted():
    rows = [tenure(number) for number in range(1, 601)]
    findings = [finding(AuditCheck.ORPHAN, row, "Left alone.") for row in rows]
    made = report(*findings, tenures=tuple(rows))
    counts = {AuditCheck.ORPHAN: 7_000}
    told = facts.state(leasehold.AuditReport(*findings_with(made, counts)))
    assert len(told.findings) == facts.FINDINGS_SHOWN_MAX
    assert told.findings_left_out == "500 of 7,000 warnings"
    assert told.verdict.text == "No error, 7,000 warnings"


def findings_with(made, counts):
    return (made.findings, counts, made.figures, made.since_ms, made.at_ms, made.rows)


def test_tables_of_figures_say_what_they_leave_out():
    rows = tuple(tenure(n, worker_id=f"worker {n}") for n in range(1, 62))
    lanes, workers = facts.state(report(tenures=rows)).tables
    assert (lanes.heading, len(lanes.holders), lanes.left_out) == ("Lane", 1, 0)
    assert (len(workers.holders), workers.left_out) == (facts.HOLDERS_SHOWN_MAX, 11)


def test_ten_thousand_tenures_make_a_page_of_bounded_size(many):
    page = many.page.read_text(encoding="utf-8")
    assert many.report.figures.tenures == 10_000
    assert len(page.encode()) < USUAL_BYTES_MAX
    drawn = page.count('class="item tenure ')
    assert drawn == 2 * choosing.EXECUTIONS_MAX
    told = Outline(page).text
    assert "240 rows for 5,000 executions" in told
    assert f"{drawn} of 10,000 tenures are drawn" in told
    assert "15 sheets" in told
    assert "All 10,000 tenures, added up." in told


def test_the_worst_names_and_numbers_make_a_page_of_bounded_size():
    name = '"' * 128
    stories = []
    for number in range(1, choosing.EXECUTIONS_MAX + 1):
        rows = [
            tenure(
                number,
                epoch,
                worker_id=f"{name[:-6]}{number % 90:03}{epoch:03}",
                worker_instance_id=name,
                lane_id=name[:64],
                renewals=40,
            )
            for epoch in range(1, 11)
        ]
        renewed = {
            row.lease_id: tuple(row.acquired_at_ms + 900 * n for n in range(40))
            for row in rows
        }
        stories.append(story(*rows, renewed_at_ms=renewed))
    text = '"' * 4_000
    findings = [
        finding(check, stories[0].tenures[0], text)
        for check in (AuditCheck.LATE_WRITE, AuditCheck.ORPHAN)
        for _ in range(1_000)
    ]
    page = page_of(*stories, findings=findings)
    assert page.count('class="item tenure ') == 2_400
    assert len(page.encode()) < PAGE_BYTES_MAX


def test_a_page_says_how_much_of_an_execution_it_draws():
    rows = [tenure(1, epoch, renewals=9) for epoch in (299, 300)]
    page = page_of(story(*rows, tenure_count=300, cut=True))
    told = Outline(page).text
    assert "the last 2 of 300 tenures" in told
    assert "2 of 300 tenures are drawn" in told
    assert "0 of 18 renewals are drawn" in told
    assert "no more than the first 10,000 lease events were read" in told


@pytest.fixture
def audited(ledger, start, clock):
    """A store with a take-over and a refusal, and its audit."""
    handle = start(ttl=1_000)
    clock.advance(1_500)
    taken = ledger.claim(worker_id="w2")
    with pytest.raises(leasehold.LeaseConflictError):
        ledger.complete(handle)
    clock.advance(500)
    ledger.renew(taken)
    return ledger.audit()


def test_a_report_is_written_from_every_store(ledger, audited, tmp_path):
    target = tmp_path / "audit.html"
    write_report(ledger.read, audited, target, title="Lease audit of it")
    page = target.read_text(encoding="utf-8")
    assert page.count('class="item tenure ') == 2
    assert page.count('class="item mark') == 1
    assert page.count('class="tick" href') == 1
    assert "Lease audit of it" in page
    assert not list(tmp_path.glob(".leasehold-*"))


def test_what_came_after_the_audit_is_not_drawn(ledger, audited, clock, start):
    clock.advance(100_000)
    start(lane_id="another")
    ledger.sweep()
    drawn = gathering.gather(ledger.read, audited)
    assert drawn.totals.tenures == 2
    (one,) = drawn.stories
    assert one.tenures[-1].ended_at_ms is None
    assert len(one.refusals) == 1


def test_a_report_since_a_time_draws_what_was_held_then(ledger, audited, clock):
    since_ms = clock() - 600
    later = ledger.audit(since_ms=since_ms)
    drawn = gathering.gather(ledger.read, later)
    assert drawn.totals.tenures == 1
    assert [row.lease_epoch for row in drawn.stories[0].tenures] == [2]


def test_an_orphan_is_one_until_its_execution_ends(ledger, clock, start):
    handle = start(ttl=1_000)
    clock.advance(5_000)
    (one,) = gathering.gather(ledger.read, ledger.audit()).stories
    assert one.orphaned
    ledger.cancel_execution(handle.execution_id, actor="dana", reason="enough")
    (one,) = gathering.gather(ledger.read, ledger.audit()).stories
    assert not one.orphaned


def test_an_earlier_time_can_be_drawn(ledger, audited, clock, start):
    before_ms = clock()
    clock.advance(100_000)
    start(lane_id="another")
    with ledger.as_of(at_ms=before_ms) as reader:
        drawn = gathering.gather(reader, reader.audit())
    assert drawn.totals.tenures == 2


def test_rows_that_cannot_be_read_leave_a_page_without_a_picture(
    ledger, audited, tmp_path, monkeypatch
):
    def refuse(*_args, **_options):
        message = "a row for TenureRow cannot be read"
        raise leasehold.StoreError(message, code="corrupt_event")

    monkeypatch.setattr(ledger.read, "tenures", refuse)
    target = tmp_path / "audit.html"
    write_report(ledger.read, audited, target)
    assert "a row for TenureRow cannot be read" in target.read_text(encoding="utf-8")


def test_a_store_that_does_not_answer_leaves_no_page(
    ledger, audited, tmp_path, monkeypatch
):
    def refuse(*_args, **_options):
        message = "the server went away"
        raise leasehold.StoreError(message, code="store_unavailable")

    monkeypatch.setattr(ledger.read, "tenures", refuse)
    with pytest.raises(leasehold.StoreError, match="went away"):
        write_report(ledger.read, audited, tmp_path / "audit.html")
    assert not list(tmp_path.glob("*.html"))


def test_a_take_over_after_the_audit_was_none_at_the_audit(ledger, clock, start):
    start(ttl=1_000)
    clock.advance(5_000)
    report = ledger.audit()
    clock.advance(5_000)
    assert ledger.claim(worker_id="w2") is not None
    (one,) = gathering.gather(ledger.read, report).stories
    (row,) = one.tenures
    assert row.orphaned_ms is None
    assert one.orphaned


def test_of_an_execution_with_too_many_lease_events_the_first_are_read(
    ledger, clock, start, monkeypatch
):
    handle = start()
    for _ in range(7):
        clock.advance(1_000)
        ledger.renew(handle)
    monkeypatch.setattr(gathering, "_PAGE", 2)
    (whole,) = gathering.gather(ledger.read, ledger.audit()).stories
    assert (len(whole.renewed_at_ms[handle.lease_id]), whole.cut) == (7, False)
    monkeypatch.setattr(gathering, "LEASE_EVENTS_MAX", 4)
    (one,) = gathering.gather(ledger.read, ledger.audit()).stories
    assert (len(one.renewed_at_ms[handle.lease_id]), one.cut) == (3, True)
    assert one.tenures[0].renewals == 7


def test_a_folder_that_is_not_there_is_told_before_any_work(audited, tmp_path):
    target = tmp_path / "nowhere" / "audit.html"
    with pytest.raises(leasehold.InvalidInputError, match=r"nowhere.* is not there"):
        check_target(target)
    with pytest.raises(leasehold.InvalidInputError, match="is a directory"):
        check_target(tmp_path)


def test_a_page_that_is_there_stays_until_the_new_one_is_whole(
    ledger, audited, tmp_path, monkeypatch
):
    target = tmp_path / "audit.html"
    target.write_text("the page before")
    monkeypatch.setattr(Path, "replace", broken)
    with pytest.raises(leasehold.StoreError, match="cannot be written"):
        write_report(ledger.read, audited, target)
    monkeypatch.undo()
    assert target.read_text() == "the page before"
    assert not list(tmp_path.glob(".leasehold-*"))
    write_report(ledger.read, audited, target)
    assert target.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


def broken(*_arguments):
    raise OSError(28, "No space left on device")


STYLE = (TEMPLATES / "page.css").read_text(encoding="utf-8")
VARIABLE = re.compile(r"--([\w-]+): (#[0-9a-f]{6});")


def blocks_of_colours() -> list[dict[str, str]]:
    """Return the light colours, then the dark ones, which stand there twice."""
    blocks = re.findall(r":root[^{]*\{\s+color-scheme: \w+;([^}]*)\}", STYLE)
    return [dict(VARIABLE.findall(block)) for block in blocks]


def luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4
        for part in parts
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_the_dark_colours_are_the_same_preferred_and_chosen():
    light, preferred, chosen = blocks_of_colours()
    assert preferred == chosen
    assert light.keys() == preferred.keys()


@pytest.mark.parametrize("block", [0, 1])
def test_texts_and_signs_have_the_contrast_of_wcag_aa(block):
    colours = blocks_of_colours()[block]
    for ground in ("page", "panel"):
        for text in ("ink", "soft", "accent", "good", "warning", "error"):
            assert contrast(colours[text], colours[ground]) >= 4.5, (text, ground)
        for sign in ("control", "hatch", "focus"):
            assert contrast(colours[sign], colours[ground]) >= 3, (sign, ground)
    for tone in ("good", "warning", "error"):
        assert contrast(colours[tone], colours[f"{tone}-tint"]) >= 4.5
        assert contrast(colours["ink"], colours[f"{tone}-tint"]) >= 4.5
    bars = re.findall(
        r"^\.c(\d) \{ --fill: (#\w+);.*--on: (#\w+);", STYLE, re.MULTILINE
    )
    assert [int(index) for index, _, _ in bars] == list(range(7))
    for index, fill, on in bars:
        assert contrast(fill, on) >= 4.5
        assert contrast(colours[f"edge-{index}"], colours["panel"]) >= 3
