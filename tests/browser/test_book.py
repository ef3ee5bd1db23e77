"""The built book in a real browser, opened from the disk without a network.

`make browser` runs these after `make book`. They skip where the book has not been built,
or where no Chromium is installed, unless CI is set: then they fail without one.
"""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Literal
from urllib.parse import unquote, urldefrag, urlparse

import browser_support
import pytest
from browser_support import Visit
from bs4 import BeautifulSoup
from playwright.sync_api import Browser, Page

ROOT = Path(__file__).resolve().parents[2]
SITE = ROOT / "_build" / "html"
PHONE, DESKTOP = 390, 1280
MEGABYTE = 1e6

PAGES = sorted(
    path.relative_to(SITE).as_posix()
    for path in SITE.rglob("*.html")
    if "_static" not in path.parts
    and path not in (SITE / "index.html", SITE / "404.html")  # which lead elsewhere
    and 'http-equiv="refresh"' not in path.read_text("utf-8")[:400]  # an old address
)
CHAPTERS = [page for page in PAGES if page.startswith("notebooks/")]

pytestmark = pytest.mark.skipif(not PAGES, reason="the book is not built: run make book first")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with browser_support.chromium() as browser:
        yield browser


def soup(page: str) -> BeautifulSoup:
    return BeautifulSoup((SITE / page).read_text("utf-8"), "html.parser")


@cache
def anchors(page: str) -> set[str]:
    """What a fragment of an address can name on a page; many links lead to the same one."""
    elements = soup(page).select("[id], [name]")
    return {element[key] for element in elements for key in ("id", "name") if key in element.attrs}


def assets(page: str) -> set[Path]:
    """The files that a page loads by itself."""
    elements = soup(page).select("script[src], link[rel=stylesheet], img[src], link[rel=icon]")
    found = set()
    for element in elements:
        address = urlparse(element.get("src") or element.get("href"))
        if not address.scheme and not address.netloc:
            found.add(((SITE / page).parent / unquote(address.path)).resolve())
    return found


def test_every_source_has_its_page() -> None:
    """A notebook that the table of contents forgets would be built by nobody."""
    names = {path.stem for path in (ROOT / "notebooks").glob("*.md")}
    assert {Path(page).stem for page in CHAPTERS} == names


def set_formulas(page: Page) -> None:
    """Wait until MathJax has set every formula of a page that has any."""
    if page.locator(".math").count():
        page.wait_for_function("window.MathJax && MathJax.startup && MathJax.startup.promise")
        page.evaluate("() => MathJax.startup.promise.then(() => null)")


@pytest.fixture(scope="module", params=PAGES)
def opened(browser: Browser, request: pytest.FixtureRequest) -> Iterator[Visit]:
    """Each page on a desktop, opened once for all the checks that leave it as it is."""
    with browser_support.visit(browser, SITE / request.param, width=DESKTOP) as seen:
        seen.page.wait_for_load_state("load")
        set_formulas(seen.page)
        yield seen


def test_page_opens_without_complaint(opened: Visit) -> None:
    """On a desktop: no console error, no failed request, nothing from outside, all math set."""
    page = opened.page
    assert opened.complaints == []
    left = page.locator(".math:not(:has(mjx-container))").all_inner_texts()
    assert [text for text in left if text.strip()] == [], "formulas that were not set"
    assert page.locator("mjx-merror, [data-mjx-error]").count() == 0
    nameless = page.locator("img:not([alt]), img[alt='']").count()
    assert nameless == 0, "images without alt text"
    broken = "images => images.filter(i => i.complete && !i.naturalWidth).map(i => i.src)"
    assert page.locator("img").evaluate_all(broken) == []
    assert browser_support.overflow(page) <= 0
    assert browser_support.cut_formulas(page) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_is_accessible(opened: Visit, scheme: Literal["light", "dark"]) -> None:
    """axe-core finds nothing serious or critical, in either scheme."""
    opened.page.emulate_media(color_scheme=scheme)
    # The theme follows the system, and its colours take a moment to change.
    opened.page.wait_for_function(f"document.documentElement.dataset.theme === '{scheme}'")
    browser_support.settle(opened.page)
    assert browser_support.violations(opened.page) == []


@pytest.mark.parametrize("page", PAGES)
def test_page_fits_a_phone(browser: Browser, page: str) -> None:
    """No horizontal scroll at 390 px, after the formulas have been set, and none of them cut."""
    with browser_support.visit(browser, SITE / page, width=PHONE, height=844) as seen:
        set_formulas(seen.page)
        assert browser_support.overflow(seen.page) <= 0
        assert browser_support.cut_formulas(seen.page) == []
        assert seen.page.evaluate(BROKEN_NUMBERS) == []
        assert seen.page.evaluate(SMALL_TEXT) == [], "pixels of the smallest text of figures"


# Python's own way to write values; tables, sentences and one formatter are for readers.
RAW = re.compile(
    r"np\.\w+\(|\bArray\(|\bdtype[:=]|\bdict_\w+\(|\{['\d(][^{}]*:|\d\.\d{12,}|(?<!\w)\d(?:\.\d+)?e[-+]?\d+(?!\w)"
)


@pytest.mark.parametrize("page", CHAPTERS)
def test_outputs_are_written_for_readers(page: str) -> None:
    """No representation of an array, a scalar's type, a dict, seventeen digits, or 4e-12."""
    outputs = soup(page).select("div.cell_output pre, div.cell_output table, .pasted-text")
    found = [hit.group() for output in outputs for hit in RAW.finditer(output.get_text())]
    assert found == []


@pytest.mark.parametrize("page", CHAPTERS)
def test_tables_are_short_and_shown_once(page: str) -> None:
    """An open table of an output has fifteen rows at most, and none is there twice."""
    tables = soup(page).select("div.cell_output table")
    long = [table for table in tables if len(table.select("tbody tr")) > 15]
    assert all(table.find_parent("details") for table in long)
    texts = [table.get_text(" ", strip=True) for table in tables]
    assert len(set(texts)) == len(texts)


# Digits with a group of three after a no-break space, and with a power of ten. Of numbers that
# are separated by ordinary blanks each may stand on a line of its own.
BROKEN_NUMBERS = r"""() => {
  const found = [];
  const number = /(?<![\w-])[-−+]?\d+(?:[.,\u00a0]\d+)*(?:·10[⁻⁰¹²³⁴-⁹]+)?/g;
  const blocks = 'article div.cell_output pre, article td, article th, article p, article li';
  for (const block of document.querySelectorAll(blocks)) {
    if (!block.checkVisibility() || block.querySelector('p, li, td')) continue;
    const walker = document.createTreeWalker(block, NodeFilter.SHOW_TEXT);
    for (let node = walker.nextNode(); node; node = walker.nextNode()) {
      if (node.parentElement.closest('mjx-container, .math, a, code')) continue;
      for (const hit of node.data.matchAll(number)) {
        const range = document.createRange();
        range.setStart(node, hit.index);
        range.setEnd(node, hit.index + hit[0].length);
        const boxes = [...range.getClientRects()].filter(box => box.width);
        const low = Math.min(...boxes.map(box => box.bottom));
        if (boxes.some(box => box.top > low - 2)) found.push(hit[0]);
      }
    }
  }
  return found;
}"""

# Of the smallest text of a figure, nine points: twelve pixels where it is as wide as drawn.
SMALL_TEXT = """() => [...document.querySelectorAll('article img[src*="_images/"]')]
  .filter(image => image.checkVisibility())
  .map(image => [image.src.split('/').pop(), 12 * image.getBoundingClientRect().width
    / parseFloat(image.style.getPropertyValue('--drawn'))])
  .filter(([, size]) => !(size >= 8)).map(([name, size]) => `${name}: ${size}`)"""


def test_numbers_stay_on_one_line(opened: Visit) -> None:
    """A number with its digits' groups and its power of ten is never broken over two lines."""
    assert opened.page.evaluate(BROKEN_NUMBERS) == []


@pytest.mark.parametrize("page", CHAPTERS)
def test_first_screen_is_no_code(page: str) -> None:
    """A chapter opens with what it shows; its imports are folded."""
    chapter = soup(page)
    assert chapter.select_one(".chapter-summary") is not None
    first = chapter.select_one("div.cell_input")
    assert first is None or first.find_parent("details") is not None


@pytest.mark.parametrize("page", CHAPTERS)
def test_checks_say_what_they_check(page: str) -> None:
    """One green line each, and the chapter's first box counts them."""
    chapter = soup(page)
    said = [
        line.get_text(" ", strip=True) for line in chapter.select(".check summary p.collapsed")
    ]
    assert all(line.startswith("✓ checked: ") for line in said), said
    box = chapter.select_one(".chapter-reading")
    assert box is not None
    found = re.search(r"(\d+) checks?", box.get_text())
    assert (int(found[1]) if found else 0) == len(said)


@pytest.mark.parametrize("page", CHAPTERS)
def test_cells_are_short(page: str) -> None:
    """At most 25 lines where the code is open, and below 40 anywhere but in a solution."""
    too_long = []
    for cell in soup(page).select("div.cell_input"):
        if cell.find_parent(class_="solution") is not None:
            continue
        lines = cell.get_text().strip().splitlines()
        folded = cell.find_parent("details") is not None
        if len(lines) > (39 if folded else 25):
            too_long.append((len(lines), lines[0]))
    assert not too_long


# A formula whose letters leave the box that it stands in, though one could scroll to them.
LEAVING = """() => [...document.querySelectorAll('article .math')]
  .filter(formula => formula.checkVisibility({visibilityProperty: true}))
  .map(formula => {
    const letters = [...formula.querySelectorAll('mjx-math mjx-c')]
      .map(letter => letter.getBoundingClientRect()).filter(box => box.width);
    const box = formula.getBoundingClientRect();
    const by = Math.max(0, ...letters.map(each => Math.max(each.right - box.right,
      box.left - each.left)));
    return [formula.closest('[id]')?.id, Math.round(by)];
  }).filter(([name, by]) => by > 3)"""


def test_formulas_fit_their_column(opened: Visit) -> None:
    """On a desktop no formula has to be scrolled; on a telephone long ones may be."""
    opened.page.set_viewport_size({"width": DESKTOP, "height": 900})
    assert opened.page.evaluate(LEAVING) == []


# The height of open code, without what is printed below it, as a part of the article's.
CODE_SHARE = """() => {
  const open = [...document.querySelectorAll('article div.cell_input')]
    .filter(cell => cell.checkVisibility({visibilityProperty: true})
      && !cell.closest('details:not([open])'));
  const height = open.reduce((sum, cell) => sum + cell.getBoundingClientRect().height, 0);
  return height / document.querySelector('article').getBoundingClientRect().height;
}"""
FIRST_PARTS = (
    "the_setting",
    "theorem_3_1",
    "theorem_3_3",
    "algorithm_1",
    "algorithm_2",
    "figure_3",
    "tracking",
    "transfer",
    "depth",
    "what_drives_figure_4",
    "seeds_and_sensitivity",
    "softmax",
)


@pytest.mark.parametrize("name", FIRST_PARTS)
def test_code_leaves_room_for_prose(browser: Browser, name: str) -> None:
    """In the first four parts at most a quarter of a page's height is code that stands open."""
    with browser_support.visit(browser, SITE / "notebooks" / f"{name}.html") as seen:
        set_formulas(seen.page)
        assert seen.page.evaluate(CODE_SHARE) <= 0.25


def test_code_can_be_put_away(browser: Browser) -> None:
    """By keyboard: prose alone, on this page and, since it is remembered, on the next."""
    with browser_support.visit(browser, SITE / "notebooks" / "the_setting.html") as seen:
        page = seen.page
        switch = page.get_by_role("switch", name="Prose and code")
        assert switch.get_attribute("aria-checked") == "true"
        assert page.locator("div.cell_input:visible").count() > 0
        switch.focus()
        page.keyboard.press("Space")
        for address in (page.url, (SITE / "notebooks" / "theorem_3_1.html").resolve().as_uri()):
            page.goto(address)
            switch.wait_for()
            assert switch.get_attribute("aria-checked") == "false"
            assert page.locator("div.cell_input:visible").count() == 0
            assert page.locator(".check summary:visible").count() > 0
        switch.focus()
        page.keyboard.press("Enter")
        assert page.locator("div.cell_input:visible").count() > 0
        assert seen.complaints == []


@pytest.mark.parametrize("page", PAGES)
def test_identifiers_are_unique(page: str) -> None:
    """A link to a theorem can lead to one place alone."""
    names = [element["id"] for element in soup(page).select("[id]")]
    assert sorted({name for name in names if names.count(name) > 1}) == []


@pytest.mark.parametrize("page", CHAPTERS)
def test_shared_links_have_a_card(page: str) -> None:
    """Title and description for search engines and messengers; each page has its own."""
    head = soup(page).head
    assert head is not None
    (text,) = head.select("meta[name=description]")
    assert 20 < len(text["content"]) <= 200
    assert head.select("meta[property='og:title']")


def test_old_addresses_lead_on(browser: Browser) -> None:
    """Chapters once had numbers in their names; a fragment is kept."""
    with browser_support.visit(browser, SITE / "notebooks" / "02_theorem_3_1.html") as seen:
        seen.page.wait_for_url("**/notebooks/theorem_3_1.html*")


def test_a_theorem_is_found_by_its_number(browser: Browser) -> None:
    """The chapter with that title is the first result, and the field shows all of the words."""
    with browser_support.visit(browser, SITE / "search.html") as seen:
        page = seen.page
        page.goto((SITE / "search.html").resolve().as_uri() + "?q=Theorem+3.1")
        first = page.locator("#search-results li a").first
        first.wait_for()
        assert "theorem_3_1.html" in str(first.get_attribute("href"))
        for search in page.locator("form.bd-search:visible").all():
            icon, field = (
                search.locator("i").bounding_box(),
                search.locator("input").bounding_box(),
            )
            assert icon is not None
            assert field is not None
            assert icon["x"] + icon["width"] <= field["x"] + 12  # before the first letter


def test_search_stays_in_sight(browser: Browser) -> None:
    """Also when the side bar has been scrolled to its end."""
    with browser_support.visit(browser, SITE / "notebooks" / "theorem_3_1.html") as seen:
        bar = seen.page.locator(".bd-sidebar-primary")
        assert (
            bar.evaluate("bar => { bar.scrollTop = bar.scrollHeight; return bar.scrollTop; }")
            > 100
        )
        box = bar.locator(".search-button-field").bounding_box()
        assert box is not None
        assert 0 <= box["y"] < 100


@pytest.mark.parametrize("name", ["theorem_3_1", "which_point", "algorithm_1"])
@pytest.mark.parametrize("width", [PHONE, DESKTOP])
def test_a_figure_to_play_with(browser: Browser, name: str, width: int) -> None:
    """It takes the place of its sentence, fits, says what it shows, and its first button works."""
    with browser_support.visit(browser, SITE / "notebooks" / f"{name}.html", width=width) as seen:
        figure = seen.page.locator(".lab")
        figure.locator(".lab-body").wait_for()
        assert not figure.locator(".lab-without").is_visible()
        assert len(figure.locator(".lab-now").inner_text()) > 60
        button = figure.locator(".playable-primary")
        before = button.inner_text()
        button.click()
        assert button.inner_text() != before
        tables = figure.locator(".lab-scroll")
        fits = tables.evaluate_all("all => all.every(e => e.scrollWidth <= e.clientWidth)")
        assert fits
        assert seen.complaints == []


def test_a_link_shows_where_it_leads(browser: Browser) -> None:
    """By keyboard, from the disk: the theorem of another chapter, and Escape closes it."""
    with browser_support.visit(browser, SITE / "notebooks" / "theorem_3_3.html") as seen:
        set_formulas(seen.page)
        address = seen.page.locator("template[data-preview]").first.get_attribute("data-preview")
        link = seen.page.locator(f"article a[href='{address}']").first
        seen.page.keyboard.press("Tab")  # so that the focus is the keyboard's
        link.focus()
        box = seen.page.locator("#preview")
        box.wait_for()
        assert box.inner_text().strip()
        seen.page.keyboard.press("Escape")
        assert box.count() == 0
        assert seen.complaints == []


@pytest.mark.parametrize("page", CHAPTERS)
def test_figures_can_be_seen_alone(page: str) -> None:
    """What is small on a telephone is there to be tapped."""
    for image in soup(page).select("figure img"):
        link = image.parent
        assert link is not None
        assert link.name == "a"
        assert link["href"] == image["src"]


def panels(picture: Path) -> int:
    """How many axes a figure has: an SVG names them, of a PNG its field Comment says it."""
    content = picture.read_bytes()
    if picture.suffix == ".svg":
        return len(set(re.findall(rb'<g id="(axes_\d+)"', content)))
    said = re.search(rb"Comment\0panels: (\d+)", content)
    assert said, f"{picture.name} does not say how many panels it has"
    return int(said[1])


@pytest.mark.parametrize("page", CHAPTERS)
def test_figures_have_three_panels_at_most(page: str) -> None:
    """One point each; colour bars are none."""
    shown = {str(image["src"]) for image in soup(page).select("div.cell_output img")}
    found = {source: panels((SITE / page).parent / source) for source in shown}
    assert {source: count for source, count in found.items() if not 1 <= count <= 3} == {}


@pytest.mark.parametrize("page", PAGES)
def test_internal_links_lead_somewhere(page: str) -> None:
    """Every relative link names a file of the site, and every fragment an element of it."""
    wrong = []
    for link in soup(page).select("a[href]"):
        address, fragment = urldefrag(link["href"])
        if urlparse(address).scheme or address.startswith("//"):
            continue
        path = ((SITE / page).parent / unquote(address)).resolve() if address else SITE / page
        if not path.exists():
            wrong.append(link["href"])
            continue
        there = path.relative_to(SITE.resolve()).as_posix()
        if fragment and path.suffix == ".html" and fragment not in anchors(there):
            wrong.append(link["href"])
    assert wrong == []


@pytest.mark.parametrize("page", PAGES)
def test_nothing_is_loaded_from_outside(page: str) -> None:
    """Only a link that the reader follows may leave the site."""
    loaded = soup(page).select("script[src], link[href], img[src], iframe[src], source[src]")
    outside = [
        address
        for element in loaded
        if re.match(r"(https?:)?//", address := element.get("src") or element.get("href"))
        and "canonical" not in element.get("rel", [])
    ]
    assert outside == []


@pytest.mark.parametrize("page", CHAPTERS)
def test_chapter_is_small(page: str) -> None:
    """A chapter with all that it loads, MathJax apart, is at most 3 MB."""
    files = {SITE / page, *assets(page)}
    size = sum(path.stat().st_size for path in files)
    assert size <= 3 * MEGABYTE, f"{size / MEGABYTE:.1f} MB"


def test_site_is_small() -> None:
    """All files together: at most 30 MB."""
    size = sum(path.stat().st_size for path in SITE.rglob("*") if path.is_file())
    assert size <= 30 * MEGABYTE, f"{size / MEGABYTE:.1f} MB"


def test_landing_page_is_the_overview(browser: Browser) -> None:
    """index.html leads to the claims, whose table is on the page with all its numbers."""
    with browser_support.visit(browser, SITE / "index.html") as seen:
        seen.page.wait_for_url("**/at_a_glance.html")
        verdicts = seen.page.locator("table tr td:last-child").all_inner_texts()
        assert len(verdicts) == 6
        assert all(verdict.strip() for verdict in verdicts)
        numbers = seen.page.locator("table tr td:nth-child(3)").all_inner_texts()
        assert all(re.search(r"\d", number) for number in numbers)


def test_policy_improves_in_the_browser(browser: Browser) -> None:
    """The interactive page, as the reader finds it: one press on Run, and the return climbs."""
    with browser_support.visit(browser, SITE / "book" / "play.html") as seen:
        seen.page.wait_for_selector("#play:not([hidden])")
        before = seen.page.locator("[role=status], [aria-live]").first.inner_text()
        seen.page.get_by_role("button", name="Run").click()
        seen.page.wait_for_timeout(3000)
        after = seen.page.locator("[role=status], [aria-live]").first.inner_text()
        assert after != before
        assert seen.complaints == []
