"""The Chromium of the system, driven by Playwright, and what it did while it was."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
INSTALL = "there is no Chromium: as root, run apt-get install chromium"


def path_of_chromium() -> str:
    """Find it; without it a test is skipped, and fails where CI is set."""
    path = shutil.which("chromium")
    if path is None:
        if os.environ.get("CI"):
            pytest.fail(INSTALL)
        pytest.skip(INSTALL)
    return path


@contextmanager
def started(path: str) -> Iterator[Browser]:
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser
        browser.close()


@dataclass
class Visit:
    """A page that is open, with what it asked for and what it complained of."""

    page: Page
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def text(self, selector: str) -> str:
        return self.page.locator(selector).inner_text()

    def count(self, selector: str) -> int:
        return self.page.locator(selector).count()

    def seen(self, selector: str) -> int:
        """Count what is there to be seen."""
        return self.page.locator(f"{selector}:visible").count()


@contextmanager
def visiting(browser: Browser, file: Path, **options) -> Iterator[Visit]:
    """Open a file, offline and with nothing remembered."""
    size = {"width": 1360, "height": 900}
    options = {"viewport": size, "offline": True, **options}
    context = browser.new_context(**options)
    visit = Visit(context.new_page())
    visit.page.set_default_timeout(5_000)
    visit.page.on("request", lambda request: visit.requests.append(request.url))
    visit.page.on("console", lambda message: visit.complaints.append(message.text))
    visit.page.on("pageerror", lambda error: visit.complaints.append(str(error)))
    visit.page.goto(file.as_uri())
    yield visit
    context.close()
