"""The site in Chromium: nothing overflows, is cut, too pale or wrong; and the ways through it.

Debian's `chromium` and `chromium-driver`, driven by Selenium. A machine without them skips this.
"""

import base64
import functools
import http.server
import os
import re
import subprocess
import sys
import threading
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import pytest
from chromium import in_a_browser, on_both_sizes, opened, show

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.slow
# Pages of every kind: doors, tables, long formulas, code side by side, signatures, pictures.
PAGES = (
    "",
    "equilibrium-models/",
    "local-learning/",
    "hardware/",
    "idea/",
    "results/",
    "when-it-is-worth-it/",
    "gpus-and-hosts/",
    "comparison/",
    "exact-and-approximate/",
    "how-to-choose-a-controller/",
    "devices/",
    "coming-from/optimistix/",
    "coming-from/torchdeq/",
    "coming-from/jpc/",
    "derivations/relative-leak/",
    "derivations/least-control/",
    "tutorials/your-own-f/",
    "examples/",
    "examples/bilevel/",
    "api/",
    "api/rules/",
    "api/rules/least-control/",
    "api/equilibrium/solutions-and-certificates/",
    "api/runs/",
    "design/",
)

# What is measured: the boxes of all that is seen, and the contrast of all words.
MEASURE = r"""
const faults = [];
const width = document.documentElement.clientWidth;
if (document.documentElement.scrollWidth > width)
  faults.push(`the page is ${document.documentElement.scrollWidth} wide`);
const seen = own => own.checkVisibility({checkOpacity: true, checkVisibilityCSS: true});
// MathML's and a figure's insides have boxes of their own.
const inside = own => own.closest("math, svg, .md-search, .md-clipboard");
const name = own => `${own.tagName} ${own.className} “${own.textContent.trim().slice(0, 30)}”`;
const scrolls = own => {
  for (let up = own; up && up !== document.body; up = up.parentElement)
    if (/auto|scroll/.test(getComputedStyle(up).overflowX) && up.scrollWidth > up.clientWidth)
      return true;
  return false;
};
for (const own of document.querySelectorAll(".md-header *, .md-tabs *, .md-main *, .md-footer *")) {
  if (inside(own) || !seen(own)) continue;
  const box = own.getBoundingClientRect(), style = getComputedStyle(own);
  if (!box.width || !box.height || style.position === "fixed") continue;
  if (own.closest(".md-sidebar--primary") && width < 1220) continue;
  if ((box.right > width + 1 || box.left < -1) && !scrolls(own))
    faults.push(`${name(own)} ends at ${Math.round(box.right)} of ${width}`);
  const cut = /hidden|clip/.test(style.overflowX) && own.scrollWidth > own.clientWidth + 1;
  if (cut && own.textContent.trim() && style.display !== "inline" && box.width > 2)
    faults.push(`${name(own)} is cut, ${own.scrollWidth} in ${own.clientWidth}`);
  if (style.textOverflow === "ellipsis" && own.scrollWidth > own.clientWidth + 1)
    faults.push(`${name(own)} ends in dots`);
}
const linear = c => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
const rgba = colour => {
  canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
  const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
  return [r, g, b, a / 255];
};
const mix = (top, below, i) => top[i] * top[3] + below[i] * (1 - top[3]);
const over = (top, below) => [0, 1, 2].map(i => mix(top, below, i)).concat(1);
const paper = own => {
  const layers = [];
  for (let up = own; up; up = up.parentElement) {
    const colour = rgba(getComputedStyle(up).backgroundColor);
    if (colour[3]) layers.push(colour);
    if (colour[3] === 1) break;
  }
  return layers.reverse().reduce((below, top) => over(top, below), [255, 255, 255, 1]);
};
const luminance = c => 0.2126 * linear(c[0]) + 0.7152 * linear(c[1]) + 0.0722 * linear(c[2]);
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
const met = new Set();
while (walker.nextNode()) {
  const own = walker.currentNode.parentElement;
  if (!walker.currentNode.data.trim() || !seen(own)) continue;
  if (own.closest("script, style, svg, title")) continue;
  if (own.closest(".md-search, .md-top, .md-skip, .headerlink, [hidden]")) continue;
  const box = own.getBoundingClientRect();
  if (!box.width || !box.height) continue;
  const below = paper(own), ink = over(rgba(getComputedStyle(own).color), below);
  const [low, high] = [luminance(below), luminance(ink)].sort((a, b) => a - b);
  const contrast = (high + 0.05) / (low + 0.05), size = parseFloat(getComputedStyle(own).fontSize);
  const large = size >= 24 || (size >= 18.66 && getComputedStyle(own).fontWeight >= 700);
  const key = `${own.tagName} ${own.className}`;
  if (contrast < (large ? 3 : 4.5) && !met.has(key)) {
    met.add(key);
    faults.push(`${name(own)} has a contrast of ${contrast.toFixed(2)}`);
  }
}
for (const own of document.querySelectorAll(".md-content img"))
  if (!own.complete || !own.naturalWidth) faults.push(`${own.src} is not shown`);
return faults.slice(0, 12);
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """The folder of the built site."""
    folder = tmp_path_factory.mktemp("site")
    words = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "-d", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def address(site):
    """The address at which the site is served."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Handler, directory=str(site))
    )
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with opened(tmp_path_factory.mktemp("profile"), performance="ALL") as driver:
        yield driver


@in_a_browser
@on_both_sizes
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_fit_and_can_be_read(scheme, size, browser, address, tmp_path):
    show(browser, scheme, size)
    faults = {}
    for page in PAGES:
        browser.get(address + page)
        problems = browser.execute_script(MEASURE)
        problems += [f"console: {entry['message']}" for entry in browser.get_log("browser")]
        if problems:
            faults[page] = problems
        picture = base64.b64decode(browser.execute_cdp_cmd("Page.captureScreenshot", {})["data"])
        name = page.strip("/").replace("/", "-") or "home"
        (tmp_path / f"{name}-{scheme}-{size[0]}.png").write_bytes(picture)
    lines = [
        f"{page or 'home'}: {fault}" for page, problems in faults.items() for fault in problems
    ]
    assert not lines, "\n".join(lines)


@in_a_browser
def test_nothing_is_fetched_from_elsewhere(browser, address):
    for page in ("", "api/rules/", "idea/"):
        browser.get(address + page)
        script = "return performance.getEntriesByType('resource').map(own => own.name)"
        fetched = browser.execute_script(script)
        assert fetched
        assert all(url.startswith(address) for url in fetched), fetched


class Links(HTMLParser):
    """The links of a page's content, each with its words."""

    def __init__(self):
        super().__init__()
        self.anchors: list[tuple[str, str]] = []
        self.ids: set[str] = set()
        self.words = ""

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        if "id" in given:
            self.ids.add(given["id"])
        if tag == "a" and given.get("href"):
            self.anchors.append((given["href"], ""))

    def handle_data(self, data):
        if self.anchors:
            address, words = self.anchors[-1]
            self.anchors[-1] = (address, words + data)


def read(site: Path, page: str) -> Links:
    links = Links()
    links.feed((site / page / "index.html").read_text(encoding="utf-8"))
    return links


def reached(site: Path, page: str) -> set[str]:
    """The pages of the site, with the places in them, that a page's content links."""
    html = (site / page / "index.html").read_text(encoding="utf-8")
    content = re.search(r"<article.*?</article>", html, re.DOTALL)
    assert content
    links = Links()
    links.feed(content[0])
    linked = set()
    for address, _ in links.anchors:
        target = urlsplit(urljoin(f"http://site/{page}", address))
        if target.netloc == "site":
            path = target.path.removeprefix("/").removesuffix("index.html")
            linked.add(f"{path}#{target.fragment}" if target.fragment else path)
    return linked


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("equilibrium-models/#differentiate-through-an-equilibrium", "lc.settle(f, params, x"),
        ("tutorials/your-own-f/", "Your own f"),
        ("reproduce/", "leastcontrol reproduce"),
        ("devices/", "leastcontrol device"),
    ],
    ids=["differentiate", "own-f", "table-1", "device"],
)
def test_what_people_want_is_within_two_clicks(place: str, said: str, site: Path):
    first = reached(site, "")
    seconds = {page.partition("#")[0] for page in first}
    second = {far for page in seconds if page.endswith("/") for far in reached(site, page)}
    assert place in first | second
    page, _, fragment = place.partition("#")
    text = (site / page / "index.html").read_text(encoding="utf-8")
    assert said in re.sub(r"<[^>]+>", "", text)
    assert not fragment or fragment in read(site, page).ids


def test_notebooks_are_there_to_download(site: Path):
    gallery = read(site, "examples")
    notebooks = [address for address, _ in gallery.anchors if address.endswith(".ipynb")]
    assert len(notebooks) == len(list((ROOT / "examples").glob("*.py")))
    assert all((site / "examples" / address).is_file() for address in notebooks)


def test_the_interface_shows_signatures_and_no_private_names(site: Path):
    for path in sorted((site / "api").rglob("index.html")):
        html = path.read_text(encoding="utf-8")
        content = re.search(r"<article.*?</article>", html, re.DOTALL)
        assert content
        words = re.sub(r"<[^>]+>", "", content[0])
        words += " ".join(re.findall(r'title="([^"]*)"', content[0]))
        private = re.findall(r"leastcontrol(?:\.\w+)*\._[a-z]\w*", words)
        assert not private, (path, private)
    rules = (site / "api" / "rules" / "backpropagation-and-its-family" / "index.html").read_text()
    text = re.sub(r"<[^>]+>", "", rules)
    assert re.search(r"RecurrentBackpropagation\(\s*loss: AbstractLoss = CrossEntropy\(\)", text)


BROKEN = {
    "wide": ("<p style='width: 3000px'>much</p>", "ends at|wide"),
    "cut": (
        "<div style='width: 40px; overflow: hidden; white-space: nowrap'>many words</div>",
        "cut",
    ),
    "dots": (
        "<p style='width: 40px; white-space: nowrap; overflow: hidden; text-overflow: ellipsis'>"
        "many words</p>",
        "dots",
    ),
    "pale": ("<p style='color: #aaa; background: #fff'>pale words</p>", "contrast of 2"),
    "missing": ("<img src='none.svg'>", "not shown"),
}


@in_a_browser
@pytest.mark.parametrize("fault", BROKEN)
def test_a_fault_is_seen(fault: str, browser, address):
    html, said = BROKEN[fault]
    browser.get(address + "idea/")
    script = (
        "document.querySelector('article').insertAdjacentHTML('beforeend', arguments[0]);"
        "return new Promise(done => setTimeout(done, 200));"
    )
    browser.execute_script(script, html)
    assert any(re.search(said, problem) for problem in browser.execute_script(MEASURE))
