"""The report in Chromium: what it shows, in both colour schemes and on a phone, without an error.

Debian's `chromium` and `chromium-driver`, driven by Selenium. A machine without them skips this.
"""

import base64
import json
import shutil

import pytest
from test_report import sample, write_run

from leastcontrol.cli import main

CHROMIUM = shutil.which("chromium")
DRIVER = shutil.which("chromedriver")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        CHROMIUM is None or DRIVER is None,
        reason="there is no browser: install Debian's chromium and chromium-driver",
    ),
]

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
)
DESKTOP, PHONE = (1280, 900), (390, 844)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The path of a page about three runs, one of which knows of its layers and of a sample."""
    root = tmp_path_factory.mktemp("browsed")
    long = "a-run-with-a-name-" + 6 * "that-is-long-"
    folders = [
        write_run(root / "pair", (3, 4), diagnosed=True),
        write_run(root / "<i>&$x^2$", (1,), rule="<script>alert(1)</script>"),
        write_run(root / long, (5,), epochs=40, command="leastcontrol train " + 40 * "--option 1 "),
    ]
    (folders[0] / "seed-3" / "sample.json").write_text(json.dumps(sample()), encoding="utf-8")
    with pytest.raises(SystemExit) as caught:
        main(["report", *map(str, folders), "--out", str(root / "page.html")])
    assert caught.value.code == 0
    return root / "page.html"


@pytest.fixture(scope="module")
def browser(page, tmp_path_factory):
    """A browser that has opened the page from disk."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    driver.get(page.as_uri())
    yield driver
    driver.quit()


def show(browser, scheme, size):
    browser.execute_cdp_cmd(
        "Emulation.setEmulatedMedia",
        {"features": [{"name": "prefers-color-scheme", "value": scheme}]},
    )
    width, height = size
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": size == PHONE},
    )


def style(browser, selector, name):
    script = "return getComputedStyle(document.querySelector(arguments[0]))[arguments[1]]"
    return browser.execute_script(script, selector, name)


def test_it_opens_from_disk_without_an_error(browser, page):
    assert page.stat().st_size < 5e6
    assert browser.get_log("browser") == []
    assert browser.title == "leastcontrol: 3 runs"
    # Nothing was asked for besides the page itself.
    assert browser.execute_script("return performance.getEntriesByType('resource').length") == 0


def test_what_it_says_can_be_read(browser):
    show(browser, "light", DESKTOP)
    text = browser.find_element("tag name", "body").text
    # The mean of 0.93 and 0.94 over two seeds, and what a hostile run calls itself.
    assert "93.50 ± 0.71" in text
    assert "<i>&$x^2$" in text
    for heading in ("Results", "Curves", "Inside the system", "One sample", "Runs"):
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


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_both_schemes_and_both_widths(scheme, size, browser, tmp_path):
    show(browser, scheme, size)
    # The page itself does not scroll sideways; wide tables do by themselves.
    assert browser.execute_script("return document.documentElement.scrollWidth") <= size[0]
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
    picture = browser.execute_cdp_cmd("Page.captureScreenshot", {})["data"]
    path = tmp_path / f"{scheme}-{size[0]}.png"
    path.write_bytes(base64.b64decode(picture))
    assert path.stat().st_size > 10_000


def test_the_keyboard_reaches_everything_in_order(browser):
    from selenium.webdriver.common.keys import Keys

    show(browser, "light", DESKTOP)
    browser.execute_script("document.activeElement.blur(); window.scrollTo(0, 0)")
    wanted = browser.execute_script(
        "return document.querySelectorAll('a[href], summary, [tabindex=\"0\"]').length"
    )
    hidden = browser.execute_script(
        "return [...document.querySelectorAll('details:not([open]) [tabindex]')].length"
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
