"""A walk through the pages in a real browser, as people take it; any error on the console fails it (``page``)."""

import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from scale_video.pipelines.explorer.catalogue import UNKNOWN
from scale_video.pipelines.explorer.outcomes import Outcome
from scale_video.pipelines.explorer.url_state import VideoState
from scale_video.pipelines.explorer.video_page import VideoPage

if TYPE_CHECKING:
    from playwright.sync_api import Page


def go_to(page: "Page", address: Any) -> None:
    """Wait for a page, but not for its pictures and films, which take long where cores are few."""
    page.wait_for_url(address, wait_until="domcontentloaded")


def wait_until(page: "Page", condition: str) -> None:
    """Playwright's own way to wait evaluates text within the page, which the page's policy forbids."""
    for _ in range(600):
        if page.evaluate(condition):
            return
        page.wait_for_timeout(50)
    pytest.fail(f"in vain: {condition}")


def test_from_a_filter_to_a_video_to_its_neighbours_to_a_clip_that_plays(page: "Page", server: Any) -> None:
    page.goto(f"{server.address}/")
    assert page.locator("#found").inner_text() == "60"
    page.fill("input[name=search]", "run/")
    page.press("input[name=search]", "Enter")
    go_to(page, "**search=run*")
    page.select_option("select[name=split]", "1:train")  # submits by itself
    go_to(page, "**split=1%3Atrain*")
    assert page.locator("#found").inner_text() == "13"
    page.click("td.path a >> nth=0")
    go_to(page, "**/video/0*")
    assert page.locator("h1").inner_text().startswith("run/00.mp4")

    assert page.locator(".frames image").first.bounding_box()["width"] > 100  # type: ignore[index]
    film = "document.querySelector('#file')"
    page.evaluate(f"{film}.muted = true; {film}.play()")
    wait_until(page, f"{film}.currentTime > 0.2")

    assert page.locator(".card").count() == 12
    page.select_option("select[name=by]", "cls")
    go_to(page, "**by=cls*")
    page.select_option("select[name=among]", "class:<i>fly</i>")
    go_to(page, "**among=class*")
    assert set(page.locator(".card .tag").all_inner_texts()) == {"<i>fly</i>"}
    scores = [float(text) for text in page.locator(".card b").all_inner_texts()]
    assert scores == sorted(scores, reverse=True)

    page.click("svg.line a[data-clip='3']")
    go_to(page, "**clip=3*")
    wait_until(page, "document.querySelector('#film').currentTime > 0")  # plays by itself
    wait_until(page, "document.querySelector('.strip').naturalWidth == 4 * 24")
    assert page.locator("#neighbours h2").inner_text() == "Nearest videos, by clip 3"
    page.select_option("select[name=of]", "video")
    go_to(page, "**of=video*")
    assert page.locator("#neighbours h2").inner_text() == "Nearest videos"
    page.click("svg.line a[data-clip='3']")
    go_to(page, "**of=clip*")
    page.locator(".card").first.click()
    go_to(page, lambda address: "/video/0?" not in address)
    page.go_back()
    assert "of=clip" in page.url
    assert page.locator("h1").inner_text().startswith("run/00.mp4")


def test_a_video_leads_back_to_the_table_that_led_to_it(page: "Page", server: Any) -> None:
    page.goto(f"{server.address}/?sort=-duration")
    page.fill("input[name=search]", "run/")
    page.press("input[name=search]", "Enter")
    table = f"{server.address}/?sort=-duration&search=run%2F"  # without the fields that are empty
    go_to(page, table)
    names = page.locator("td.path").all_inner_texts()
    assert names == sorted(names, key=lambda name: -(int(name[4:6]) % 7 if int(name[4:6]) >= 5 else 0))
    with page.expect_navigation(wait_until="domcontentloaded"):
        page.click("td.path a >> nth=0")
    for way, place in (("next", 1), ("next", 2), ("prev", 1)):
        with page.expect_navigation(wait_until="domcontentloaded"):
            page.click(f"nav.around a[rel={way}]")
        assert page.locator("h1").inner_text().startswith(names[place])
    page.click("nav.around a >> nth=0")
    go_to(page, lambda address: sorted(address.split("?")[-1].split("&")) == ["search=run%2F", "sort=-duration"])
    assert page.locator("td.path").all_inner_texts() == names
    page.fill("input[name=search]", "")
    page.press("input[name=search]", "Enter")
    go_to(page, f"{server.address}/?sort=-duration")


def test_a_click_on_a_heading_sorts_and_a_second_one_turns_it_round(page: "Page", server: Any) -> None:
    page.goto(f"{server.address}/")
    for wanted in ("4.00 s", "10.00 s"):
        page.click("th.duration a")
        page.wait_for_load_state()
        assert page.locator("td.duration").first.inner_text() == wanted
    assert page.locator("th.duration").get_attribute("aria-sort") == "descending"
    assert page.locator("tbody tr").count() == 50
    page.click("a[rel=next] >> nth=0")
    go_to(page, "**page=2*")
    assert page.locator("tbody tr").count() == 10
    assert page.locator("td.duration").last.inner_text() == "4.00 s"


def test_a_name_that_is_a_script_is_a_name(page: "Page", server: Any) -> None:
    alerts: list[str] = []
    page.on("dialog", lambda dialog: (alerts.append(dialog.message), dialog.dismiss()))
    page.goto(f"{server.address}/?search=script")
    assert page.locator("td.path").all_inner_texts() == ["<script>alert(1)</script>.mp4"]
    page.click("td.path a")
    go_to(page, "**/video/3*")
    assert page.locator("h1").inner_text().startswith("<script>alert(1)</script>.mp4")
    film = "document.querySelector('#file')"
    page.evaluate(f"{film}.muted = true; {film}.play()")
    wait_until(page, f"{film}.currentTime > 0")
    page.goto(f"{server.address}/video/6?top=96")
    page.wait_for_load_state()
    assert not alerts


@pytest.fixture
def loaded(server: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Until it is set, tables wait for statuses."""
    done = threading.Event()
    task = server.explorer.background.begin("reading", 1, lambda report: done.wait(60))
    unknown = Outcome(np.full(60, UNKNOWN, np.uint8))
    monkeypatch.setattr(server.explorer.outcomes, "get", lambda features: (unknown, task))
    yield done
    done.set()


def test_a_page_that_waits_is_loaded_anew_when_all_is_there(page: "Page", server: Any, loaded: threading.Event) -> None:
    page.goto(f"{server.address}/")
    assert page.locator("[data-await]").count() == 1
    with page.expect_navigation(wait_until="domcontentloaded"):
        loaded.set()
    assert page.locator("[data-await]").count() == 0


def test_a_click_while_a_page_waits_is_not_undone_by_its_loading_anew(
    page: "Page", server: Any, loaded: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    explorer, shown = server.explorer, []
    table, video = explorer.table, explorer.video

    def slow_video(row: int, state: VideoState) -> VideoPage:
        shown.append("video")
        loaded.set()
        time.sleep(1.5)  # in which the page sees that what it waited for is there
        found: VideoPage = video(row, state)
        return found

    monkeypatch.setattr(explorer, "table", lambda state: (shown.append("table"), table(state))[1])
    monkeypatch.setattr(explorer, "video", slow_video)
    page.goto(f"{server.address}/")
    page.click("td.path a >> nth=0", no_wait_after=True)
    go_to(page, "**/video/0*")
    assert shown == ["table", "video"]


def test_failures_are_found_with_their_reasons(page: "Page", server: Any) -> None:
    page.goto(f"{server.address}/")
    page.click("text=2 could not be had in full")
    go_to(page, "**status=failed*")
    assert page.locator("td.status").all_inner_texts() == ["corrupt\n<b>bad</b> & worse", "partial\nends after 2 clips"]
    page.click("td.path a >> nth=0")
    go_to(page, "**/video/7*")
    assert "this video has no feature in random/tiny" in page.locator("#neighbours .problem").inner_text()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read_on_its_ground(page: "Page", server: Any, scheme: str) -> None:
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    page.goto(f"{server.address}/video/0")
    contrast = """() => {
      const light = (text) => {
        const parts = text.match(/[\\d.]+/g).slice(0, 3).map((part) => {
          const share = part / 255;
          return share <= 0.03928 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
        });
        return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2];
      };
      const ground = light(getComputedStyle(document.body).backgroundColor);
      return [...document.querySelectorAll("h1, h2, a, p, th, td, label")].map((element) => {
        const text = light(getComputedStyle(element).color);
        return (Math.max(text, ground) + 0.05) / (Math.min(text, ground) + 0.05);
      });
    }"""
    assert min(page.evaluate(contrast)) > 4.5  # as WCAG 2 asks
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
