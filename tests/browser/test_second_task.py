"""The page draws the landmarks and bones of any task that the server has."""

from pathlib import Path

import pytest
from playwright.sync_api import expect

from engines import hand_task
from harness.browser import is_red, pixels
from harness.second_task import settings_of_second_task
from harness.server import start_server


def test_the_page_follows_from_a_second_task(
    visit, astronaut: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_of_second_task(tmp_path, monkeypatch)
    with start_server(folder=tmp_path, workers=1, **settings) as server:
        opened = visit(server.url)
        expect(opened.page.locator("#no-joints")).to_have_text(
            "Send a picture to see the joints of each person."
        )
        opened.choose(astronaut)
        expect(opened.page.locator("#skeleton .joint")).to_have_count(len(hand_task.NAMES))
        expect(opened.page.locator("#busy")).to_be_hidden()
        expect(opened.page.locator("#model")).to_contain_text("hand, tiny model, paper")
        spoken = opened.page.locator("#skeleton .joint").first.get_attribute("aria-label")
        opened.page.locator("#show-labels").check()
        expect(opened.page.locator("#skeleton .name")).to_have_text(["wrist", "thumb tip", "index tip"])
        seen = pixels(opened.page.locator("#frame"))
    assert spoken.startswith("wrist, person 1")
    assert "visible 100 %" in spoken
    assert "NaN" not in spoken
    assert all(is_red(seen, x, y) for x, y in hand_task.HAND)
