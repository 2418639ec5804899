"""The HTML of a mail in a real browser: light and dark, wide and narrow."""

from collections.abc import Iterator
from typing import Literal

import pytest
from playwright.sync_api import Browser, Locator, Page

from tallystream.engine.message import describe
from tallystream.engine.message_html import html
from tallystream.ports.alarms import Message
from tests.alarm_messages import DEFINITION, ONE, SEVERAL, item, message, points

Scheme = Literal["light", "dark"]


@pytest.fixture(params=["light", "dark"])
def scheme(request: pytest.FixtureRequest) -> Scheme:
    chosen: Scheme = request.param
    return chosen


@pytest.fixture(params=[320, 800])
def mail(request: pytest.FixtureRequest, browser: Browser, scheme: Scheme) -> Iterator[Page]:
    """A window that asks nobody for anything, in which nothing runs."""
    context = browser.new_context(
        color_scheme=scheme, viewport={"width": request.param, "height": 700}, java_script_enabled=True
    )
    asked: list[str] = []
    context.on("request", lambda sent: asked.append(sent.url))
    page = context.new_page()
    page.on("dialog", lambda dialog: asked.append(f"dialog {dialog.message}"))
    yield page
    context.close()
    assert asked == []


def show(page: Page, sent: Message) -> None:
    page.set_content(html(describe(sent, DEFINITION), DEFINITION))


# For each text: its contrast with what is behind it, by WCAG 2.
CONTRASTS = """() => {
  const channels = colour => colour.match(/[\\d.]+/g).map(Number);
  const luminance = colour => {
    const [r, g, b] = channels(colour).slice(0, 3).map(c => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = element => {
    for (; element; element = element.parentElement) {
      const colour = getComputedStyle(element).backgroundColor;
      if (channels(colour)[3] !== 0) return colour;
    }
    return "rgb(255, 255, 255)";
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const found = [];
  while (walker.nextNode()) {
    const text = walker.currentNode.data.replace(/[\\s\\u00a0]+/g, " ").trim(), parent = walker.currentNode.parentElement;
    if (!text || parent.tagName === "STYLE") continue;
    const [a, b] = [getComputedStyle(parent).color, behind(parent)].map(luminance);
    found.push([text, (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05)]);
  }
  return found;
}"""


LONG = message(
    item(
        "donations-odd",
        group="x" * 1_000,
        reason="y" * 2_000,
        datapoints=points(-(10**18), "999999999999.9999", "0.000000000001", None, upper="0.5"),
    )
)


@pytest.mark.parametrize("sent", [ONE, SEVERAL, LONG], ids=["one", "several", "long"])
def test_it_fits_the_window_and_reads_well(mail: Page, sent: Message) -> None:
    show(mail, sent)
    assert mail.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    contrasts = mail.evaluate(CONTRASTS)
    assert len(contrasts) > 15
    assert [(text, round(ratio, 1)) for text, ratio in contrasts if ratio < 4.5] == []


def test_the_bars_are_as_long_as_the_values_and_the_line_stands_at_the_threshold(mail: Page, scheme: Scheme) -> None:
    def width(locator: Locator) -> float:
        box = locator.bounding_box()
        assert box is not None
        return box["width"]

    show(mail, ONE)
    tracks = mail.locator("table[style*=fixed]")
    assert tracks.count() == 5
    widths, lines = [], set()
    for index in range(5):
        track = tracks.nth(index)
        bars = track.locator("td.bar, td.breach")
        widths.append(sum(width(bars.nth(number)) for number in range(bars.count())))
        box = track.locator("td.line").bounding_box()
        assert box is not None
        lines.add(box["x"] + box["width"])
    assert max(lines) - min(lines) < 1, "the line goes straight down, but for a fraction of a pixel"
    assert widths[3] == 0, "there was no datapoint"
    assert widths[1] / widths[0] == pytest.approx(9 / 12, abs=0.05)
    assert widths[2] / widths[0] == pytest.approx(3 / 12, abs=0.05)
    left = tracks.nth(0).bounding_box()
    assert left is not None
    assert (lines.pop() - left["x"]) / widths[0] == pytest.approx(5 / 12, abs=0.05)
    colour = tracks.nth(2).locator("td.breach").first.evaluate("element => getComputedStyle(element).backgroundColor")
    assert colour == {"light": "rgb(217, 45, 32)", "dark": "rgb(249, 112, 102)"}[scheme]


def test_without_its_style_sheet_it_is_still_whole(mail: Page) -> None:
    """Some mail programs take it away."""
    show(mail, ONE)
    mail.locator("style").evaluate("element => element.remove()")
    assert mail.get_by_text("pageview-low", exact=False).first.is_visible()
    assert (
        mail.locator("td.breach").first.evaluate("element => getComputedStyle(element).backgroundColor") == "rgb(217, 45, 32)"
    )
    assert mail.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
