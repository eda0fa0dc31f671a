"""Make the picture of the documentation: `python tests/report/make_screenshot.py`.

It plays the demonstration, writes the page about it, and takes the upper part of it, as
it looks with one bar pointed at.
"""

import sys
import tempfile
from pathlib import Path

from chromium import path_of_chromium, started, visiting
from demonstration import show

TARGET = Path(__file__).parents[2] / "docs" / "images" / "audit-report.png"
BYTES_MAX = 200 * 1024
SIZE = {"width": 1240, "height": 1290}


def take(target: Path) -> int:
    """Write the picture, and return how many bytes it has."""
    with (
        tempfile.TemporaryDirectory() as folder,
        show(Path(folder)) as shown,
        started(path_of_chromium()) as browser,
        visiting(browser, shown.page, viewport=SIZE, color_scheme="light") as visit,
    ):
        late = [row for row in shown.ledger.read.tenures() if row.refusals]
        visit.page.locator(f'[id="x-{late[0].execution_id}"] .mark').hover()
        visit.page.locator("#tip").wait_for()
        visit.page.screenshot(path=target)
    return target.stat().st_size


if __name__ == "__main__":
    size = take(TARGET)
    print(f"{TARGET.name}: {size} bytes")
    sys.exit(size > BYTES_MAX)
