"""The page about one run of the gate: a page for people who do not run Python, then the appendix.

One HTML file that needs nothing from elsewhere; `GateResult.to_json` is its twin for programs.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined

from descant.evaluation import Estimate, ReleaseCheck
from descant.release.charts import Bar, Marker, interval_chart
from descant.release.gate import Figure, GateResult
from descant.release.judged_texts import SUFFIX
from descant.schema import Indicator

_SAYS = {
    "promote": ("Promote", "The candidate may take the champion's place."),
    "hold": ("Hold", "Too little is known to let the candidate take the champion's place."),
    "reject": ("Reject", "The candidate must not take the champion's place."),
}
_TONES = {"pass": "good", "fail": "bad", "unsure": "plain", "untested": "plain"}
_OUTCOMES = {"pass": "passed", "fail": "failed", "unsure": "unsure", "untested": "not tested"}


@dataclass(frozen=True)
class Provenance:
    """Who made the page, when and with what."""

    date: str
    version: str
    machine: str


def render_page(
    result: GateResult, indicators: tuple[Indicator, ...], provenance: Provenance
) -> str:
    """Return the page as one HTML document."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    environment.filters |= {"span": _span, "points": _points}
    template = (files("descant.release") / "page.html.jinja").read_text(encoding="utf-8")
    verdict, sentence = _SAYS[result.decision.verdict]
    figures = [each for each in (result.candidate, result.champion, result.rival) if each]
    page: str = environment.from_string(template).render(
        result=result,
        decision=result.decision,
        verdict=verdict,
        sentence=sentence,
        figures=list(zip(("Candidate", "Champion", "Rival"), figures, strict=False)),
        figure_chart=_figure_chart(figures),
        difference_chart=_difference_chart(result),
        per_1000=_per_1000(result),
        reasons=_reasons(result),
        questions={indicator.name: indicator.question for indicator in indicators},
        outcomes=_OUTCOMES,
        tones=_TONES,
        provenance=provenance,
        currency=result.policy.prices.currency,
        policy_json=json.dumps(asdict(result.policy), indent=1, default=str),
        ids=_example_ids(result),
    )
    return page


def _reasons(result: GateResult) -> list[str]:
    """Return what decided; where nothing speaks against a release, harm that was not found is one line."""
    decision = result.decision
    if not result.is_released:
        return list(decision.reasons)
    passed = [check for check in decision.checks if check.outcome == "pass"]
    margin = decision.policy.guard_margin
    guards = [each for each in passed if each.margin == margin and SUFFIX not in each.name]
    shown = [check.reason for check in passed if check not in guards]
    if guards:
        shown.append(f"No harm was found on any of {len(guards)} indicators and slices.")
    return shown


def _figure_chart(figures: list[Figure]) -> str:
    names = ("Candidate", "Champion", "Rival")
    bars = [
        Bar(name, figure.value.value, figure.value.low, figure.value.high)
        for name, figure in zip(names, figures, strict=False)
        if figure.value is not None
    ]
    return interval_chart("Score with its 95 % interval", bars) if bars else ""


def _difference_chart(result: GateResult) -> str:
    checks = [check for check in result.decision.checks if check.low is not None]
    release = result.policy.release
    bars = list(_difference_bars(checks))
    markers = [Marker("no difference", 0.0), Marker("margin", -release.margin * 100)]
    title = "Candidate less champion, in points"
    return interval_chart(title, bars, markers, digits=1) if bars else ""


def _difference_bars(checks: list[ReleaseCheck]) -> Iterator[Bar]:
    for check in checks:
        if check.value is not None and check.low is not None and check.high is not None:
            span = (check.value * 100, check.low * 100, check.high * 100)
            yield Bar(check.name, *span, tone=_TONES[check.outcome])


def _per_1000(result: GateResult) -> dict[str, float]:
    split = result.decision.split
    whole = max(split.total, 1) / 1000
    return {
        "won": split.only_one / whole,
        "lost": split.only_other / whole,
        "both": split.both / whole,
        "neither": split.neither / whole,
    }


def _example_ids(result: GateResult) -> dict[str, Any]:
    return {each.transcript_id: f"example-{at}" for at, each in enumerate(result.regressions, 1)}


def _span(estimate: Estimate | None) -> str:
    if estimate is None:
        return "not defined"
    return f"{estimate.value:.3f} ({estimate.low:.3f} to {estimate.high:.3f})"


def _points(share: float | None) -> str:
    return "" if share is None else f"{share * 100:+.1f}"
