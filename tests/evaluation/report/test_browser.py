"""The page in a real Chromium: no request, no error, and everything that moves does."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from esdctl.cli.app import run
from tests.evaluation.report.measured import write_attack, write_figures

HOSTILE = "<script>document.title='x'</script>\"'&🙂 مرحبا \u202egnp" + "W" * 120
Open = Callable[..., Page]


@pytest.fixture
def opened(browser: Browser, erasure: Path) -> Iterator[Open]:
    """Makes and opens a page; at the end it holds that there was no error and no request."""
    trouble: list[str] = []
    requests: list[str] = []
    contexts = []

    def open_page(*arguments: str, width: int = 1280, scheme: str = "light") -> Page:
        assert run(["report", *(arguments or ("Mosaic",)), "--quiet"]) == 0
        context = browser.new_context(viewport={"width": width, "height": 900})
        contexts.append(context)
        page = context.new_page()
        page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
        page.on("console", lambda message: trouble.append(message.text))
        page.on("pageerror", lambda error: trouble.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(Path("outputs/report.html").resolve().as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert trouble == []
    assert [url for url in requests if not url.startswith(("file://", "data:"))] == []
    assert sum(url.startswith("file://") for url in requests) == len(contexts)


def test_the_slider_moves_by_the_keyboard(opened: Open) -> None:
    page = opened()
    slider, stack = page.locator("input[type=range]").first, page.locator(".stack").first
    clipped = "stack => getComputedStyle(stack.querySelector('.after')).clipPath"
    assert "50%" in stack.evaluate(clipped)
    slider.focus()
    page.keyboard.press("End")
    assert "100%" in stack.evaluate(clipped)
    page.keyboard.press("ArrowLeft")
    assert "99%" in stack.evaluate(clipped)


def test_the_theme_follows_the_system_and_the_toggle(opened: Open) -> None:
    page = opened(scheme="dark")
    paper = "() => getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(paper)
    page.click("#theme")
    light = page.evaluate(paper)
    assert light == "rgb(255, 255, 255)"
    assert dark != light
    page.click("#theme")
    assert page.evaluate(paper) == dark
    assert page.text_content("#theme") == "Theme: dark"


def test_blurred_pictures_show_after_a_click(opened: Open) -> None:
    page = opened("Mosaic", "--blur", "all")
    blur = "() => getComputedStyle(document.querySelector('.cover img')).filter"
    assert "blur" in page.evaluate(blur)
    page.locator(".reveal").first.click()
    assert page.evaluate(blur) == "none"
    assert page.locator(".cover.hidden").count() == 8


def test_tables_sort_by_their_heads(opened: Open, erasure: Path) -> None:
    for name, new in (("noise", 0), ("inversion", 11), ("paraphrase", 4)):
        write_attack(erasure, name, new)
    page = opened()
    table = page.locator("#run1-attacks table")
    names = "table => [...table.tBodies[0].rows].map(row => row.cells[0].textContent)"
    assert table.evaluate(names) == ["inversion", "paraphrase", "noise"]
    head = table.get_by_role("button", name="Success, %")
    head.click()
    head.click()
    assert table.evaluate(names) == ["noise", "paraphrase", "inversion"]
    table.get_by_role("button", name="Attack").click()
    assert table.evaluate(names) == ["inversion", "noise", "paraphrase"]


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_scrolls_sideways_and_hostile_names_are_text(
    opened: Open, erasure: Path, width: int
) -> None:
    record = json.loads((erasure / "run.json").read_text())
    record["concept"]["name"] = HOSTILE
    (erasure / "run.json").write_text(json.dumps(record))
    write_figures(erasure, judge=HOSTILE)
    write_attack(erasure, attack=HOSTILE, new=2)
    other = erasure.with_name("Second-run")
    shutil.copytree(erasure, other)
    page = opened(erasure.name, other.name, width=width)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.title() == "2 erasures compared"
    assert page.locator("script").count() == 1
    assert HOSTILE.replace("_", " ") in (page.text_content("article h2") or "")
    assert page.locator("#comparison svg").count() == 1


def test_print_shows_both_pictures_and_no_controls(opened: Open) -> None:
    page = opened()
    page.emulate_media(media="print")
    assert not page.locator("#theme").is_visible()
    assert not page.locator("input[type=range]").first.is_visible()
    boxes = [page.locator(f".stack >> nth=0 >> img >> nth={i}").bounding_box() for i in range(2)]
    assert boxes[0] is not None
    assert boxes[1] is not None
    assert boxes[0]["x"] + boxes[0]["width"] <= boxes[1]["x"] + 1


def test_every_picture_and_plot_has_a_text(opened: Open, erasure: Path) -> None:
    write_figures(erasure)
    write_attack(erasure)
    page = opened()
    bare = "() => document.querySelectorAll('img:not([alt]), img[alt=\"\"], svg:not([aria-label])')"
    assert page.evaluate(f"({bare})().length") == 0
    broken = "() => [...document.images].filter(image => !image.naturalWidth).length"
    assert page.evaluate(broken) == 0
