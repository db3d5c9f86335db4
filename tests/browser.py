"""Pages in a browser without a network."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Browser
    from playwright.sync_api import Page as Tab

CHROMIUM = shutil.which("chromium")
LOCAL = re.compile("file:|data:|blob:")


@contextmanager
def opened(browser: Browser, path: Path) -> Iterator[tuple[Tab, list[str]]]:
    """Open a comparison's page; the list holds what it writes to the console or asks of a network."""
    wrong: list[str] = []
    context = browser.new_context(offline=True, viewport={"width": 1200, "height": 700}, color_scheme="light")
    tab = context.new_page()
    tab.on("console", lambda message: wrong.append(f"{message.type}: {message.text}"))
    tab.on("pageerror", lambda error: wrong.append(str(error)))
    tab.on("dialog", lambda dialog: wrong.append(dialog.message))
    tab.on("request", lambda asked: wrong.append(asked.url) if not LOCAL.match(asked.url) else None)
    tab.goto(path.as_uri())
    tab.wait_for_selector("#chart canvas")
    yield tab, wrong
    context.close()
