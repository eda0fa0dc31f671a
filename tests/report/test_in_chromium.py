"""The page in a real browser: what is seen, pointed at, typed and asked for."""

from __future__ import annotations

import pytest
from chromium import path_of_chromium, started, visiting
from hostile import NAMES, write_hostile_page

from leasehold import TenureEnd, TenureOrigin
from leasehold.adapters.report.timeline import ROWS_PER_SHEET


@pytest.fixture(scope="module")
def browser():
    with started(path_of_chromium()) as browser:
        yield browser


@pytest.fixture
def visit(browser, shown):
    """Open the demonstration's page; in the end nothing went wrong or out."""
    with visiting(browser, shown.page) as visit:
        yield visit
        assert visit.complaints == []
        assert visit.requests == [shown.page.as_uri()]


@pytest.fixture
def tenures(shown):
    return shown.ledger.read.tenures()


def test_the_picture_has_what_the_store_has(visit, shown, tenures):
    renewals = sum(row.renewals for row in tenures)
    refused = shown.report.figures.refusals
    assert visit.seen(".sheet .tenure .bar") == len(tenures) >= 20
    assert visit.count(".tenure .tick") == renewals > 100
    ended = [row.ended_by for row in tenures]
    assert visit.count('.tenure .end[href="#expiry"]') == ended.count(TenureEnd.EXPIRED)
    assert visit.count('.tenure .end[href="#revocation"]') == 1
    begun = [row.acquired_by for row in tenures]
    assert visit.count('.start[href="#takeover"]') == begun.count(TenureOrigin.RECLAIM)
    assert visit.count('.start[href="#resume"]') == 1
    orphaned = sum(1 for row in tenures if row.orphaned_ms is not None)
    orphans_now = shown.report.figures.orphans_now
    assert visit.count(".tenure .orphaned") == orphaned + orphans_now
    counts = visit.page.locator(".mark").evaluate_all(
        "marks => marks.map(m => Number(m.querySelector('text')?.textContent ?? 1))"
    )
    assert sum(counts) == refused > 0


def test_a_bar_lies_where_its_times_are(visit, tenures):
    long = [row for row in tenures if row.ended_at_ms - row.acquired_at_ms > 100_000]
    one, other = long[0], long[-1]
    scale = [
        visit.page.locator(f'[id="x-{row.execution_id}"] .bar').first.bounding_box()
        for row in (one, other)
    ]
    pixels = scale[1]["x"] - scale[0]["x"]
    per_pixel = (other.acquired_at_ms - one.acquired_at_ms) / pixels
    held = one.ended_at_ms - one.acquired_at_ms
    assert abs(scale[0]["width"] - held / per_pixel) < 2


def test_the_pointer_shows_the_details(visit, tenures):
    row = tenures[0]
    bar = visit.page.locator(f'[id="x-{row.execution_id}"] .tenure').first
    assert visit.seen("#tip") == 0
    bar.hover()
    told = visit.text("#tip")
    assert told.startswith(f"{row.worker_id} held epoch 1")
    assert str(row.execution_id) in told
    assert row.lane_id in told
    visit.page.mouse.move(5, 5)
    visit.page.wait_for_selector("#tip", state="hidden")


def test_the_keyboard_shows_the_details(visit):
    visit.page.locator("#in").focus()
    visit.page.keyboard.press("Tab")
    first = visit.text("#tip strong")
    assert "held epoch 1" in first
    visit.page.keyboard.press("ArrowDown")
    second = visit.text("#tip")
    assert visit.page.evaluate("document.activeElement.closest('.row').id") in {
        f"x-{line}" for line in second.replace(",", " ").split()
    }
    visit.page.keyboard.press("Escape")
    assert visit.seen("#tip") == 0
    visit.page.keyboard.press("ArrowUp")
    assert visit.text("#tip strong") == first
    # All bars are one stop: the next Tab leaves them.
    visit.page.keyboard.press("Tab")
    assert visit.page.evaluate("document.activeElement.closest('.item')") is None


def test_a_refused_write_tells_who_and_how_late(visit):
    visit.page.locator(".mark").first.hover()
    told = visit.text("#tip")
    assert "refused writes" in told
    assert "late" in told


def test_the_filters_leave_what_was_asked_for(visit, tenures):
    everything = {row.execution_id for row in tenures}
    in_lane = {row.execution_id for row in tenures if row.lane_id == "billing"}
    visit.page.select_option("#lane", label="billing")
    assert visit.seen(".sheet .row[id]") == len(in_lane)
    assert visit.text("#count") == f"{len(in_lane)} of {len(everything)} rows"
    of_worker = {
        row.execution_id
        for row in tenures
        if row.execution_id in in_lane and row.worker_id == "billing-1"
    }
    value = visit.page.locator("#worker option", has_text="billing-1").get_attribute(
        "value"
    )
    visit.page.select_option("#worker", value)
    assert visit.seen(".sheet .row[id]") == len(of_worker)
    dimmed = visit.page.locator(".tenure.dim").evaluate_all(
        "bars => bars.map(bar => bar.dataset.worker)"
    )
    assert value not in dimmed
    assert dimmed
    visit.page.select_option("#lane", label="mail")
    assert visit.seen(".sheet") == 0
    assert visit.seen("#nothing") == 1
    visit.page.select_option("#lane", "")
    visit.page.select_option("#worker", "")
    visit.page.select_option("#has", "orphan")
    left_alone = {
        row.execution_id
        for row in tenures
        if row.orphaned_ms is not None or row.worker_id == "archiver"
    }
    assert visit.seen(".sheet .row[id]") == len(left_alone)


def test_the_theme_can_be_chosen(visit, browser, shown):
    ground = "getComputedStyle(document.body).backgroundColor"
    light = visit.page.evaluate(ground)
    visit.page.click("#theme")
    dark = visit.page.evaluate(ground)
    assert dark != light
    assert visit.text("#theme") == "Light"
    visit.page.click("#theme")
    assert visit.page.evaluate(ground) == light
    with visiting(browser, shown.page, color_scheme="dark") as other:
        assert other.page.evaluate(ground) == dark


def test_a_finding_leads_to_its_row(visit, shown):
    execution_id = shown.report.findings[0].execution_id
    visit.page.locator(f'.findings a[href="#x-{execution_id}"]').first.click()
    row = visit.page.locator(f'[id="x-{execution_id}"]')
    visit.page.wait_for_function(
        "id => document.activeElement.closest('.row')?.id === id",
        arg=f"x-{execution_id}",
    )
    assert row.is_visible()
    assert visit.seen("#tip") == 1


def test_zooming_widens_the_bars(visit):
    bar = visit.page.locator(".sheet .tenure .bar").first
    before = bar.bounding_box()["width"]
    visit.page.click("#in")
    visit.page.click("#in")
    assert visit.text("#zoom") == "4×"
    assert bar.bounding_box()["width"] > 3 * before
    label = visit.page.locator(".sheet .row[id] .label").first
    assert label.bounding_box()["x"] >= 0


def test_a_print_is_light_and_has_no_buttons(visit):
    visit.page.click("#theme")
    visit.page.emulate_media(media="print")
    ground = visit.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert ground == "rgb(255, 255, 255)"
    assert visit.seen(":is(button, select)") == 0
    assert visit.seen(".sheet .tenure .bar") > 0
    assert visit.seen(".findings tbody tr") > 0


def test_without_a_script_everything_is_there(browser, shown, tenures):
    with visiting(browser, shown.page, java_script_enabled=False) as visit:
        assert visit.seen(".sheet .tenure .bar") == len(tenures)
        assert visit.seen(":is(button, select)") == 0
        title = visit.page.locator(".tenure title").first
        assert "held epoch 1" in title.text_content()


def test_what_the_store_holds_is_text_and_nothing_else(browser, tmp_path):
    page = write_hostile_page(tmp_path)
    with visiting(browser, page) as visit:
        items = visit.page.locator(".item").all()
        assert len(items) == 2 * len(NAMES)
        for item in items:
            item.focus()
            assert visit.seen("#tip") == 1
        assert visit.count("script") == 1
        assert visit.count("img, iframe, object, embed") == 0
        assert visit.page.evaluate("window.stolen") is None
        labels = visit.page.locator("#worker option").all_inner_texts()
        for name in NAMES:
            assert any(name in label for label in labels), name
        assert visit.count(".mark") == len(NAMES)
        assert visit.complaints == []
        assert visit.requests == [page.as_uri()]


def test_a_large_store_is_paged(browser, many):
    with visiting(browser, many.page) as visit:
        assert visit.count(".sheet") > 1
        assert visit.seen(".sheet") == 1
        assert visit.seen(".sheet .row[id]") == ROWS_PER_SHEET
        assert "of 10,000 tenures are drawn" in visit.text(".picture > .about")
        last = visit.count(".pager [data-page]")
        visit.page.click(f'.pager [data-page="{last}"]')
        assert visit.seen(f"#sheet-{last}") == 1
        assert visit.seen(".sheet") == 1
        visit.page.locator('.pager [data-turn="-1"]').click()
        assert visit.seen(f"#sheet-{last - 1}") == 1
        visit.page.locator(".column").nth(5).hover()
        assert "Leases held" in visit.text("#tip")
        assert visit.complaints == []
