"""The page: whole, in one file, and shown by a real browser."""

from __future__ import annotations

import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest

from descant.release import GateResult, Provenance, render_page, run_gate
from descant.release.charts import Bar, Marker, interval_chart
from tests.release.task import INDICATORS, contestant, made_policy, made_task

PROVENANCE = Provenance("2026-11-22", "0.1.0", "a machine")
VOID = {"meta", "line", "circle"}


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> GateResult:
    task = made_task()
    ours, theirs = contestant(task, "ours", 0.9, 1), contestant(task, "theirs", 0.85, 2)
    policy = made_policy(tmp_path_factory.mktemp("gate"), task)
    return run_gate(policy, task, ours, theirs, contestant(task, "rival", 0.6, 3))


@pytest.fixture(scope="module")
def page(result: GateResult) -> str:
    return render_page(result, INDICATORS, PROVENANCE)


class Outline(HTMLParser):
    """Headings in order, tags that stay open, and what a reader of the page would be told."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.headings: list[int] = []
        self.ids: list[str] = []
        self.labelled: list[str] = []
        self.outside: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        told = dict(attrs)
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))
        self.ids += [told["id"]] if told.get("id") else []
        self.labelled += [told["aria-labelledby"]] if told.get("aria-labelledby") else []
        self.outside += [value for key in ("src", "href") if (value := told.get(key))]
        if tag == "svg":
            assert told.get("role") == "img"
            assert told.get("aria-label")
        if tag == "th":
            assert told.get("scope") in ("row", "col")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_well_formed_and_needs_nothing_from_elsewhere(page: str) -> None:
    outline = Outline()
    outline.feed(page)
    assert outline.open == []
    assert outline.outside == []
    assert "url(" not in page
    assert outline.headings[0] == 1
    assert all(
        after - before <= 1
        for before, after in zip(outline.headings, outline.headings[1:], strict=False)
    )
    assert set(outline.labelled) <= set(outline.ids)
    assert len(set(outline.ids)) == len(outline.ids)


def test_what_customers_said_cannot_change_the_page(page: str) -> None:
    assert "&lt;b&gt;thanks &amp; bye&lt;/b&gt;" in page
    assert "<b>thanks" not in page


def test_the_page_says_what_was_found(result: GateResult, page: str) -> None:
    split = result.decision.split
    won = f"{split.only_one / split.total * 1000:.0f}"
    assert f'<strong class="good">{won}</strong>' in page
    assert result.data_hash in page
    for each in result.not_tested:
        assert each in page
    for name in ("ours", "theirs", "rival"):
        assert name in page


def test_a_page_without_texts_names_conversations_only(result: GateResult) -> None:
    page = render_page(result.without_texts(), INDICATORS, PROVENANCE)
    assert "thanks" not in page
    assert result.regressions[0].transcript_id in page
    assert "thanks" not in str(result.without_texts().to_json())


def test_a_chart_says_in_words_what_it_shows() -> None:
    chart = interval_chart('A "title"', [Bar("<one>", 0.5, 0.4, 0.6)], [Marker("zero", 0.0)])
    assert "&lt;one&gt; 0.50, from 0.40 to 0.60" in chart
    assert "&quot;title&quot;" in chart


@pytest.mark.parametrize("edges", [(0.5, 0.5), (0.0, 1.0), (-3.0, 2.5), (0.9871, 0.9872)])
def test_a_chart_stays_within_its_frame(edges: tuple[float, float]) -> None:
    low, high = edges
    chart = interval_chart("t", [Bar("a", low, low, high)])
    places = [float(x) for x in re.findall(r'(?:x1|x2|cx)="([-\d.]+)"', chart)]
    assert min(places) >= 240
    assert max(places) <= 720


@pytest.mark.skipif(shutil.which("chromium") is None, reason="Debian's chromium is not installed")
def test_a_browser_shows_and_prints_it(page: str, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_text(page)
    browser = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
    browser += [f"--user-data-dir={tmp_path / 'profile'}", "--host-resolver-rules=MAP * ~NOTFOUND"]
    shot, paper = tmp_path / "page.png", tmp_path / "page.pdf"
    for more in (
        [f"--screenshot={shot}", "--window-size=900,2400"],
        [f"--print-to-pdf={paper}", "--no-pdf-header-footer"],
    ):
        done = subprocess.run([*browser, *more, path.as_uri()], capture_output=True, timeout=120)
        assert done.returncode == 0, done.stderr[-2000:]
    assert shot.read_bytes().startswith(b"\x89PNG")
    assert paper.read_bytes().startswith(b"%PDF")
    shown = subprocess.run(
        [*browser, "--dump-dom", path.as_uri()], capture_output=True, text=True, timeout=120
    )
    assert "What changes in 1,000 answers" in shown.stdout
