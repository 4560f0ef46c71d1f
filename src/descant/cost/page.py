"""The page about a comparison: one HTML file that needs nothing from elsewhere."""

from __future__ import annotations

from dataclasses import asdict, replace
from importlib.resources import files

from jinja2 import Environment, StrictUndefined

from descant.cost.comparison import CostComparison
from descant.cost.sensitivity import Case, sensitivities
from descant.release import Bar, Marker, interval_chart

VOLUMES = (100, 1_000, 10_000, 100_000, 1_000_000)


def render_cost_page(case: Case, currency: str, names: tuple[str, str]) -> str:
    """Return the page; `names` are those of the API and the machine."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    template = (files("descant.cost") / "page.html.jinja").read_text(encoding="utf-8")
    found = case.compare()
    page: str = environment.from_string(template).render(
        found=found,
        case=case,
        currency=currency,
        api_name=names[0],
        machine_name=names[1],
        workload=asdict(case.workload),
        chart=sensitivity_chart(case, found),
        moves=sensitivities(case),
        volumes=by_volume(case),
    )
    return page


def by_volume(case: Case) -> list[CostComparison]:
    """Return the comparison at volumes from small to large."""
    return [
        replace(
            case, workload=replace(case.workload, conversations_per_day=float(volume))
        ).compare()
        for volume in VOLUMES
    ]


def sensitivity_chart(case: Case, found: CostComparison) -> str:
    """Return a chart of API over own; empty where the machine is too slow."""
    if found.ratio is None:
        return ""
    bars = []
    for each in sensitivities(case):
        ends = [end for end in (each.half, each.twice) if end is not None]
        if ends:
            span = (min([*ends, found.ratio]), max([*ends, found.ratio]))
            bars.append(Bar(each.name, found.ratio, *span))
    title = "API over own machine, each assumption halved and doubled"
    return interval_chart(title, bars, [Marker("level", 1.0)], digits=1)
