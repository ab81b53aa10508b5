"""The report as a browser draws it: nothing empty, nothing beyond the screen, light and dark."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import Browser, find
from finished_run import summary, write_run

from flows.table import EnergyTable
from quanos.report import render
from quanos.results import read_run

PROGRAM = find()
pytestmark = pytest.mark.skipif(PROGRAM is None, reason="there is no Chromium on PATH")

DEVICES = {"desktop": (1280, 800), "phone": (390, 844)}
SECTIONS = ("Layers", "Attacks and training", "Results", "Energy of one multiply-accumulate (MAC)")
LONG = "a-policy-with-a-name-that-no-phone-has-room-for-in-one-line"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    assert PROGRAM
    with Browser(PROGRAM, tmp_path_factory.mktemp("profile")) as one:
        yield one


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A page of one run and one of three, whose names are as long as a sweep's."""
    folder = tmp_path_factory.mktemp("pages")
    names = ("digits", "ans-5bit-seed0", f"{LONG}-4.5bit-seed12")
    table = EnergyTable.load()
    masked = summary()
    masked["columns"]["quanos"]["gate"]["verdict"] = "masked: FGSM beats PGD"
    contents = (summary(), masked, summary())
    runs = [
        read_run(write_run(folder / name, one)) for name, one in zip(names, contents, strict=True)
    ]
    alone = summary()
    alone["columns"] = {name: alone["columns"][name] for name in ("quanos", "16")}
    for name, reached in {"quanos": 0.9978, "16": 0.9956}.items():  # ticks as long as 99.65 %
        alone["columns"][name]["clean_accuracy"] = reached
    one = read_run(write_run(folder / "alone", alone))
    for name, some in {"one": [one], "several": runs}.items():
        (folder / f"{name}.html").write_text(render(some, table, "html"), encoding="utf-8")
    return {name: folder / f"{name}.html" for name in ("one", "several")}


LOOK = """
(async () => {
  const bytes = Uint8Array.from(atob("%s"), (char) => char.charCodeAt(0));
  const image = await createImageBitmap(new Blob([bytes], {type: "image/png"}));
  const canvas = new OffscreenCanvas(image.width, image.height).getContext("2d");
  canvas.drawImage(image, 0, 0);
  const data = canvas.getImageData(0, 0, image.width, image.height).data;
  const drawn = new Array(%d).fill(0), colours = new Set();
  for (let i = 0; i < data.length; i += 4) {
    const far = Math.max(Math.abs(data[i] - data[0]), Math.abs(data[i + 1] - data[1]),
                         Math.abs(data[i + 2] - data[2]));
    if (far < 40) continue;
    drawn[Math.floor(i / data.length * drawn.length)] += 1;
    colours.add((data[i] >> 5) << 6 | (data[i + 1] >> 5) << 3 | data[i + 2] >> 5);
  }
  return {ground: data[0], colours: colours.size,
          drawn: drawn.map((count) => count * 4 * drawn.length / data.length)};
})()
"""
"""What is on a picture: the ground's red, and by bands the share of pixels far from the ground."""

BANDS = 8


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", ["one", "several"])
def test_the_page_is_drawn_from_top_to_bottom(browser, pages, name, device, dark) -> None:
    browser.show(pages[name], *DEVICES[device], dark=dark)
    picture = base64.b64encode(browser.picture(scale=0.5)).decode()
    seen = browser.evaluate(LOOK % (picture, BANDS))
    assert seen["ground"] < 60 if dark else seen["ground"] > 200
    assert min(seen["drawn"]) > 0.003, "a part of the page is empty"
    assert max(seen["drawn"]) < 0.5
    assert seen["colours"] > 20


OUTSIDE = """
[...document.querySelectorAll("main *, footer *")].filter((one) => {
  const box = one.getBoundingClientRect();
  const hides = one.closest(".scroll, .tip, .track") || !one.checkVisibility();
  const right = document.documentElement.clientWidth;
  return !hides && box.width && (box.right > right + 1 || box.left < -1);
}).map((one) => one.outerHTML.slice(0, 120))
"""

CLIPPED = """
[...document.querySelectorAll("svg text")].filter((one) => {
  const box = one.getBoundingClientRect(), frame = one.closest("svg").getBoundingClientRect();
  return box.width && (box.left < frame.left - 1 || box.right > frame.right + 1
                       || box.top < frame.top - 1 || box.bottom > frame.bottom + 1);
}).map((one) => one.textContent)
"""

SMALL = """
[...document.querySelectorAll("main *, footer *")].filter((one) =>
  [...one.childNodes].some((node) => node.nodeType == 3 && node.data.trim())
).map((one) => {
  const svg = one.closest("svg");
  const scale = svg ? svg.getBoundingClientRect().width / svg.viewBox.baseVal.width : 1;
  return [scale * parseFloat(getComputedStyle(one).fontSize), one.textContent];
}).filter(([size]) => size < 10)
"""


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", ["one", "several"])
def test_nothing_is_cut_off_or_too_small_to_read(browser, pages, name, device) -> None:
    browser.show(pages[name], *DEVICES[device], dark=False)
    browser.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true })")
    assert browser.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert browser.evaluate(OUTSIDE) == []
    assert browser.evaluate(CLIPPED) == []
    assert browser.evaluate(SMALL) == []


PALE = """
(() => {
  const canvas = new OffscreenCanvas(1, 1).getContext("2d");
  const colour = (text) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = text;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const light = (text) => {
    const [r, g, b] = colour(text).map((x) => x / 255)
      .map((x) => x <= 0.03928 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (one) => {
    const own = getComputedStyle(one).backgroundColor;
    return colour(own)[3] == 255 || !one.parentElement ? own : ground(one.parentElement);
  };
  return [...document.querySelectorAll("main *, footer *")].filter((one) =>
    [...one.childNodes].some((node) => node.nodeType == 3 && node.data.trim())
  ).map((one) => {
    const style = getComputedStyle(one), svg = one.closest("svg");
    const text = light(svg ? style.fill : style.color), behind = light(ground(svg ?? one));
    const [less, more] = [Math.min(text, behind), Math.max(text, behind)];
    return [(more + 0.05) / (less + 0.05), one.textContent];
  }).filter(([ratio]) => ratio < 4.5);
})()
"""
"""Texts whose contrast with what is behind them is below that of WCAG 2.2, 1.4.3."""


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("name", ["one", "several"])
def test_every_text_stands_out_from_its_ground(browser, pages, name, dark) -> None:
    browser.show(pages[name], *DEVICES["desktop"], dark=dark)
    browser.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true })")
    assert browser.evaluate(PALE) == []


UNREACHED = """
[...document.querySelectorAll("thead th:not([scope]), tbody th:not([scope]), th:empty, "
  + ".scroll:not([tabindex='0']), svg:not([aria-label]):not([aria-hidden])")]
  .map((one) => one.outerHTML.slice(0, 120))
"""


@pytest.mark.parametrize("name", ["one", "several"])
def test_readers_of_screens_and_keyboards_reach_everything(browser, pages, name) -> None:
    browser.show(pages[name], *DEVICES["desktop"], dark=False)
    assert browser.evaluate(UNREACHED) == []
    unfolds = "new Promise((done) => setTimeout(() => done(%s.open), 300))"
    browser.evaluate("location.hash = '#words'")
    assert browser.evaluate(unfolds % "document.querySelector('#words').closest('details')")


def test_paper_has_what_the_screen_folds(browser, pages) -> None:
    browser.show(pages["several"], *DEVICES["desktop"], dark=False)
    folded = "[...document.querySelectorAll('main details')].filter((o) => o.offsetHeight < 60)"
    assert browser.evaluate(f"{folded}.length") > 5
    browser.call("Emulation.setEmulatedMedia", media="print")
    left = browser.evaluate(f"{folded}.length")
    browser.call("Emulation.setEmulatedMedia", media="")
    assert left == 0


@pytest.mark.parametrize("name", ["one", "several"])
def test_the_sections_can_be_seen(browser, pages, name) -> None:
    browser.show(pages[name], *DEVICES["desktop"], dark=False)
    if name == "several":
        assert browser.evaluate("document.querySelector('h1').innerText") == "3 runs side by side"
        browser.evaluate("document.querySelectorAll('details').forEach((o) => { o.open = true })")
    shown = browser.evaluate(
        "[...document.querySelectorAll('h2')].filter((one) => one.checkVisibility())"
        ".map((one) => one.innerText)"
    )
    assert [title for title in SECTIONS if title not in shown] == []


POINTED = "document.querySelectorAll('.tip')[%d].checkVisibility({visibilityProperty: true})"
CENTRE = """
(() => {
  const spot = document.querySelectorAll(".spot circle")[%d];
  spot.scrollIntoView({block: "center"});
  const box = spot.getBoundingClientRect();
  return [box.x + box.width / 2, box.y + box.height / 2];
})()
"""


def test_a_point_of_the_front_says_its_numbers_under_the_pointer(browser, pages) -> None:
    browser.show(pages["several"], *DEVICES["desktop"], dark=False)
    x, y = browser.evaluate(CENTRE % 8)
    assert not browser.evaluate(POINTED % 8)
    browser.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
    assert browser.evaluate(POINTED % 8)
    text = browser.evaluate("document.querySelectorAll('.tip')[8].textContent")
    assert [part for part in ("…", "6.00 bits", "96.22 %") if part not in text] == []
