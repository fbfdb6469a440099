"""The search page in a real browser: what a person sees, types and follows."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import Browser, find_browser
from serving import Running, serving

from lsr.index.index import Index

HITS = "document.querySelectorAll('.hit').length"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    found = Browser(find_browser(), tmp_path_factory.mktemp("profile"))
    yield found
    found.close()


@pytest.fixture
def page(browser: Browser, service: Running) -> Browser:
    browser.call("Emulation.clearDeviceMetricsOverride")
    browser.events.clear()
    browser.go(f"{service.url}/?t={os.urandom(4).hex()}")
    browser.wait("document.querySelector('#status').innerText.startsWith('Type')")
    return browser


def status(page: Browser) -> str:
    return page.text("#status")


def settled(page: Browser, condition: str) -> Any:
    return page.wait(f"!document.querySelector('#status.busy') && ({condition})")


def test_typing_searches_and_marks_what_matched(page: Browser, service: Running) -> None:
    page.type("#query", "cycling jacket")
    settled(page, f"{HITS} === 10")
    assert "1–10 of 40" in status(page)
    assert page.run("document.querySelector('.hit mark').innerText.toLowerCase()") in (
        "jacket",
        "cycling",
    )
    assert page.run("document.title") == "cycling jacket - lsr search"
    assert page.complaints() == []
    assert {url.startswith(service.url) for url in page.requested()} == {True}


def test_a_filter_leaves_out_and_the_builder_writes_one(page: Browser) -> None:
    page.type("#query", "jacket")
    settled(page, f"{HITS} === 10")
    page.run("document.querySelector('#field').value = 'colour'")
    page.run("document.querySelector('#field').dispatchEvent(new Event('change'))")
    page.type("#value", "red")
    page.click("#add")
    settled(page, "document.querySelector('#status').innerText.includes('of 14')")
    assert page.run("document.querySelector('#filter').value") == 'colour = "red"'
    colours = page.run("[...document.querySelectorAll('.meta')].map(one => one.innerText)")
    assert all("colour: red" in one for one in colours)


def test_why_shows_products_that_sum_to_the_score_and_the_rank_of_each_leg(page: Browser) -> None:
    page.type("#query", "warm jacket")
    settled(page, f"{HITS} === 10")
    page.click(".hit .why")
    page.wait("document.querySelectorAll('.reasons meter').length > 1")
    rows = page.run(
        "[...document.querySelectorAll('.reasons table:last-child tbody tr')]"
        ".map(row => parseFloat(row.children[2].innerText))"
    )
    score = float(page.text(".reasons table:first-child tbody td:last-child"))
    assert sum(rows) == pytest.approx(score, abs=0.02)
    assert page.text(".reasons table:first-child tbody").split()[:2] == ["sparse", "1"]
    assert page.run("document.querySelector('.why').getAttribute('aria-expanded')") == "true"


def test_an_index_with_several_legs_lets_one_choose(
    browser: Browser, shop: Path, tmp_path: Path
) -> None:
    shutil.copytree(shop, tmp_path / "shop", ignore=shutil.ignore_patterns("queue", "lock*"))
    with Index.open(tmp_path / "shop") as index:
        index.add_leg("bm25")
    with serving(tmp_path, "shop", "--workers", "1") as service:
        browser.go(f"{service.url}/?q=warm+jacket")
        settled(browser, f"{HITS} === 10")
        browser.wait("!document.querySelector('#ranking').hidden")
        choices = browser.run("[...document.querySelector('#by').options].map(one => one.value)")
        assert choices == ["", "hybrid", "sparse", "bm25"]
        browser.run("document.querySelector('#by').value = 'hybrid'")
        browser.run("document.querySelector('#by').dispatchEvent(new Event('change'))")
        settled(browser, "document.querySelector('#status').innerText.includes('hybrid')")
        assert "by=hybrid" in browser.run("location.search")
        browser.click(".hit .why")
        browser.wait("document.querySelectorAll('.reasons meter').length > 1")
        legs = browser.text(".reasons table:first-child tbody").split()
        assert {"sparse", "bm25"} <= set(legs)
        assert browser.complaints() == []


def test_paging_has_addresses_that_can_be_followed_and_gone_back_from(
    page: Browser, service: Running
) -> None:
    page.type("#query", "jacket")
    settled(page, f"{HITS} === 10")
    first = page.text("#results")
    page.click("#next")
    settled(page, "document.querySelector('#page').innerText === 'Page 2'")
    second = page.text("#results")
    assert first != second and "11–20" in status(page)
    link = page.run("location.href")
    assert "q=jacket" in link and "page=2" in link
    page.run("history.back()")
    settled(page, "document.querySelector('#page').innerText === 'Page 1'")
    assert page.text("#results") == first
    page.call("Page.navigate", url=link)
    page.wait("document.querySelector('#page')?.innerText === 'Page 2'")
    settled(page, f"{HITS} === 10")
    assert page.text("#results") == second
    assert page.run("document.querySelector('#query').value") == "jacket"


def test_empty_and_error_states_say_what_to_do(page: Browser) -> None:
    page.type("#query", "jacket")
    page.type("#filter", "price >")
    settled(page, "!document.querySelector('#problem').hidden")
    assert "price >" in page.text("#problem") or "expected" in page.text("#problem")
    assert "Request " in page.text("#problem")
    page.run("document.querySelector('#filter').value = 'price > 1000'")
    page.run("document.querySelector('#filter').dispatchEvent(new Event('input'))")
    settled(page, "document.querySelector('#status').innerText.includes('without the filter')")
    assert page.run("document.querySelector('#problem').hidden") is True


def test_the_keyboard_is_enough(page: Browser) -> None:
    page.type("#query", "jacket")
    settled(page, f"{HITS} === 10")
    page.press("Escape")
    page.press("j")
    page.press("j")
    where = "[...document.querySelectorAll('.hit')].indexOf(document.activeElement)"
    assert page.run(where) == 1
    page.press("w")
    page.wait("document.querySelectorAll('.hit')[1].querySelectorAll('meter').length > 0")
    page.press("n")
    settled(page, "document.querySelector('#page').innerText === 'Page 2'")
    page.press("/")
    assert page.run("document.activeElement.id") == "query"


def test_every_control_has_a_name(page: Browser) -> None:
    page.type("#query", "jacket")
    settled(page, f"{HITS} === 10")
    unnamed = page.run(
        "[...document.querySelectorAll('input, select, button')]"
        ".filter(one => !one.labels?.length && !one.innerText.trim()"
        " && !one.getAttribute('aria-label')).map(one => one.id)"
    )
    assert unnamed == []


def test_text_of_documents_stays_text(page: Browser) -> None:
    page.type("#query", "jacket number 7")
    settled(page, f"{HITS} === 10")
    page.run("new Promise(done => setTimeout(done, 200))")
    assert page.run("document.title") == "jacket number 7 - lsr search"
    assert page.run("document.querySelectorAll('#results img, #results script').length") == 0
    assert "onerror" in page.text("#results")


@pytest.mark.parametrize(("dark", "width"), [(False, 1000), (True, 1000), (False, 390)])
def test_it_fits_and_can_be_read(page: Browser, tmp_path: Path, dark: bool, width: int) -> None:
    page.type("#query", "warm jacket for cycling")
    settled(page, f"{HITS} === 10")
    page.click(".hit .why")
    page.wait("document.querySelectorAll('.reasons meter').length > 1")
    folder = Path(os.environ.get("LSR_SCREENSHOTS", tmp_path))
    page.shoot(folder / f"page-{'dark' if dark else 'light'}-{width}.png", dark=dark, width=width)
    assert page.run("document.documentElement.scrollWidth <= window.innerWidth") is True
    colours = page.run(
        "[getComputedStyle(document.body).color, getComputedStyle(document.body).backgroundColor]"
    )
    assert ("rgb(21, 25, 28)" in colours) == dark
