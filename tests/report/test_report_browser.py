"""The report in Chromium: what it shows, in both colour schemes and on a phone, without an error.

Debian's `chromium` and `chromium-driver`, driven by Selenium. A machine without them skips this.
The screenshots are kept in the folder that `LEASTCONTROL_SCREENSHOTS` names, or in that of the
test.
"""

import base64
import json
import os
from pathlib import Path

import pytest
from chromium import DESKTOP, PHONE, in_a_browser, on_both_sizes, opened, show
from test_report import sample, write_run
from test_report_sentences import finish

from leastcontrol.cli import main

pytestmark = [pytest.mark.slow, in_a_browser]

# Of ten classes, with counts as large as those of CIFAR-10 over ten seeds.
ANSWERS = {
    "counts": [[8700 if a == b else 100 + a for a in range(10)] for b in range(10)],
    "unsolved": [345] * 10,
}
RUNS = 8


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The path of a page about runs of long names and options, diagnosed and not, and a pair."""
    root = tmp_path_factory.mktemp("browsed")
    long = "a-run-with-a-name-" + 6 * "that-is-long-"
    strength = {"alpha": 320.0, "removed_mean": 0.018, "removed_end": 0.02}
    folders = [
        write_run(root / "pair", (3, 4), diagnosed=True),
        write_run(root / "<i>&$x^2$", (1,), rule="<script>alert(1)</script>"),
        write_run(root / long, (5,), epochs=40, command="leastcontrol train " + 40 * "--option 1 "),
        # Their curves are identical.
        *(write_run(root / f"{long}-{n}", (6,), alpha=n, wide=f"v{n}" * 30) for n in range(4)),
    ]
    for folder in (folders[0], folders[3]):
        finish(folder, confusion=ANSWERS, strength=strength)
    (folders[0] / "seed-3" / "sample.json").write_text(json.dumps(sample()), encoding="utf-8")
    arm = write_run(root / "compared" / "feedforward-least-control-strength-0.5", (5,))
    figures = {"mean": 0.0125, "standard_error": 0.005, "pairs": 3}
    words = {"system": "feedforward", "rule": "least-control --strength 0.5", "less": "backprop"}
    comparison = {
        "command": "leastcontrol compare",
        "arms": [{"folder": arm.name}],
        "differences": [{**words, "test_accuracy": figures, "test_nll": figures}],
    }
    (root / "compared" / "comparison.json").write_text(json.dumps(comparison), encoding="utf-8")
    folders = [*map(str, folders), str(root / "compared")]
    with pytest.raises(SystemExit) as caught:
        main(["report", *folders, "--out", str(root / "page.html")])
    assert caught.value.code == 0
    return root / "page.html"


@pytest.fixture(scope="module")
def browser(page, tmp_path_factory):
    """A browser that has opened the page from disk."""
    with opened(tmp_path_factory.mktemp("profile")) as driver:
        driver.get(page.as_uri())
        yield driver


def style(browser, selector, name):
    script = "return getComputedStyle(document.querySelector(arguments[0]))[arguments[1]]"
    return browser.execute_script(script, selector, name)


def test_it_opens_from_disk_without_an_error(browser, page):
    assert page.stat().st_size < 5e6
    assert browser.get_log("browser") == []
    assert browser.title == f"leastcontrol: {RUNS} runs"
    # Nothing was asked for besides the page itself.
    assert browser.execute_script("return performance.getEntriesByType('resource').length") == 0


def test_what_it_says_can_be_read(browser):
    show(browser, "light", DESKTOP)
    text = browser.find_element("tag name", "body").text
    # The mean of 0.93 and 0.94 over two seeds, and what a hostile run calls itself.
    assert "93.50 ± 0.71" in text
    assert "<i>&$x^2$" in text
    headings = ("What differs", "Results", "Differences", "Confusions", "Curves")
    for heading in (*headings, "Inside the system", "One sample", "Runs"):
        assert heading in text
    assert browser.execute_script("return document.querySelectorAll('script, i').length") == 0


def test_every_figure_is_seen(browser):
    show(browser, "light", DESKTOP)
    script = (
        "return [...document.querySelectorAll('figure svg')].map(own => {"
        "const box = own.getBoundingClientRect();"
        "return [box.width, box.height, own.querySelectorAll('text').length]})"
    )
    figures = browser.execute_script(script)
    assert len(figures) == 20
    for width, height, words in figures:
        assert width > 200
        assert height > 150
        assert words > 5


# Words that are not drawn whole: beyond the window, or beyond the box of a parent that cuts or
# scrolls, or of their drawing. Boxes are measured to half a pixel.
CLIPPED = """
const wide = document.documentElement.clientWidth, found = [];
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walker.nextNode()) {
  const node = walker.currentNode, own = node.parentElement;
  if (!node.data.trim() || own.closest('.skip, title, style') || !own.checkVisibility()) continue;
  const head = own.closest('thead');
  if (head && getComputedStyle(head).position === 'absolute') continue;
  const range = document.createRange();
  range.selectNodeContents(node);
  for (const box of range.getClientRects()) {
    const say = why => found.push(`${why}: ${node.data.trim().slice(0, 40)}`);
    if (box.left < -0.5 || box.right > wide + 0.5) say('window');
    for (let up = own; up && up !== document.body; up = up.parentElement) {
      const cuts = up.tagName === 'svg' || getComputedStyle(up).overflowX !== 'visible';
      if (!cuts) continue;
      const outer = up.getBoundingClientRect();
      if (box.left < outer.left - 0.5 || box.right > outer.right + 0.5
          || box.top < outer.top - 0.5 || box.bottom > outer.bottom + 0.5) say(up.tagName);
    }
  }
}
return found;
"""
# Words of a drawing that lie over each other.
COVERED = """
const found = [];
for (const svg of document.querySelectorAll('figure svg')) {
  const boxes = [...svg.querySelectorAll('text')].map(own => [own, own.getBoundingClientRect()]);
  boxes.forEach(([one, a], n) => boxes.slice(n + 1).forEach(([other, b]) => {
    const across = Math.min(a.right, b.right) - Math.max(a.left, b.left);
    const down = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
    if (across > 1 && down > 3) found.push(`${one.textContent} / ${other.textContent}`);
  }));
}
return found;
"""


def photograph(browser, name, folder):
    """Keeps a picture of the whole page."""
    kept = Path(os.environ.get("LEASTCONTROL_SCREENSHOTS") or folder)
    kept.mkdir(parents=True, exist_ok=True)
    size = browser.execute_cdp_cmd("Page.getLayoutMetrics", {})["cssContentSize"]
    clip = {"x": 0, "y": 0, "width": size["width"], "height": min(size["height"], 15_000)}
    options = {"captureBeyondViewport": True, "clip": {**clip, "scale": 1}}
    picture = browser.execute_cdp_cmd("Page.captureScreenshot", options)["data"]
    path = kept / f"{name}.png"
    path.write_bytes(base64.b64decode(picture))
    return path


@on_both_sizes
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_both_schemes_and_both_widths(scheme, size, browser, tmp_path):
    show(browser, scheme, size)
    # Neither the page nor any part of it scrolls sideways.
    assert browser.execute_script("return document.documentElement.scrollWidth") <= size[0]
    script = (
        "return [...document.querySelectorAll('*')].filter(own => own.checkVisibility()"
        " && own.clientWidth && own.scrollWidth > own.clientWidth + 1"
        " && getComputedStyle(own).overflowX !== 'visible'"
        " && getComputedStyle(own).position !== 'absolute').map(own => own.outerHTML.slice(0, 99))"
    )
    assert browser.execute_script(script) == []
    assert browser.execute_script(CLIPPED) == []
    assert browser.execute_script(COVERED) == []
    papers = {"light": "rgb(255, 255, 255)", "dark": "rgb(13, 17, 23)"}
    assert style(browser, "body", "backgroundColor") == papers[scheme]
    inks = {"light": "rgb(27, 31, 36)", "dark": "rgb(230, 237, 243)"}
    assert style(browser, "figure svg text", "fill") == inks[scheme]
    # What is written in a figure stays large enough to be read.
    script = (
        "return [...document.querySelectorAll('figure svg text')]"
        ".map(own => own.getBoundingClientRect().height)"
    )
    assert min(browser.execute_script(script)) > 8
    assert photograph(browser, f"{scheme}-{size[0]}", tmp_path).stat().st_size > 10_000
    assert browser.get_log("browser") == []


def test_what_is_cut_would_be_noticed(browser):
    show(browser, "light", DESKTOP)
    script = "document.querySelector('.scroll').style.width = arguments[0]"
    browser.execute_script(script, "9rem")
    assert browser.execute_script(CLIPPED) != []
    browser.execute_script(script, "")
    assert browser.execute_script(CLIPPED) == []


def test_a_phone_shows_every_number_of_a_card(browser):
    show(browser, "light", PHONE)
    card = browser.find_element("css selector", "#results tbody tr")
    assert card.find_element("tag name", "th").text == "pair"
    assert "93.50 ± 0.71" in card.text
    heading = "return getComputedStyle(arguments[0], '::before').content"
    cell = card.find_element("tag name", "td")
    assert browser.execute_script(heading, cell) == '"test accuracy, %"'


def test_the_switch_shows_every_column_by_the_keyboard(browser):
    show(browser, "light", DESKTOP)
    switch = browser.find_element("css selector", "#results .more")
    hidden = browser.find_element("css selector", "#results th.minor")
    assert not hidden.is_displayed()
    browser.execute_script("arguments[0].focus()", switch)
    switch.send_keys(" ")
    assert hidden.is_displayed()
    switch.send_keys(" ")
    assert not hidden.is_displayed()


def test_the_keyboard_reaches_everything_in_order(browser):
    from selenium.webdriver.common.keys import Keys

    show(browser, "light", DESKTOP)
    # The keyboard begins at the top of a page that was just opened.
    browser.refresh()
    wanted = browser.execute_script(
        "return document.querySelectorAll('a[href], summary, input, [tabindex=\"0\"]').length"
    )
    hidden = browser.execute_script(
        "return document.querySelectorAll("
        "'details:not([open]) [tabindex], details:not([open]) input').length"
    )
    script = (
        "const own = document.activeElement; const seen = getComputedStyle(own);"
        "return [own.tagName, own.textContent.slice(0, 20), seen.outlineStyle]"
    )
    met = []
    for _ in range(wanted - hidden):
        browser.switch_to.active_element.send_keys(Keys.TAB)
        met.append(browser.execute_script(script))
    assert met[0][1] == "To the results"
    assert all(tag != "BODY" for tag, _, _ in met)
    # Where the keyboard is can be seen.
    assert all(outline != "none" for _, _, outline in met)
    tags = {tag for tag, _, _ in met}
    assert tags >= {"A", "SUMMARY", "PRE", "DIV"}


def test_the_configuration_opens(browser):
    show(browser, "light", PHONE)
    summary = browser.find_element("css selector", "details summary")
    table = browser.find_element("css selector", "details table")
    assert not table.is_displayed()
    browser.execute_script("arguments[0].focus()", summary)
    summary.send_keys("\n")
    assert table.is_displayed()
    assert browser.get_log("browser") == []
