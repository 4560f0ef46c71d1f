"""Goodput of the gateway's routing beside round robin and least in flight, on simulated engines.

    .venv/bin/python -m benchmarks.gateway.goodput.run

Goodput is answers a second of which the first token came within 1 s and the others within 50 ms in
the mean. For each policy: the highest rate of requests at which 99 % of the answers are good, found by
halving, as the mean over the seeds (two for the first two scenarios, one for the others); and goodput
over a sweep of rates. Everything runs on virtual time and in one thread, so the figures are the same
on every machine.

What is assumed of traffic is said in `workload`, of engines in `engine`, of what policies see in
`policies`. Besides:

- four engines, the network between costs nothing, and the gateway takes no time and refuses nobody;
- requests that arrive in the first minutes do not count: sessions and caches fill up;
- round robin and least in flight are one worker that sees everything, the best case for them;
  "3 workers" are three routers that share nothing;
- the constants of `load_score` and `affinity` were chosen on seeds 1 and 2; the seeds here are others.

How much routing gains depends on whether the engines' caches, about 390,000 tokens each, can hold what
was said until the next turn. Where programs ask ("tools") they can, and it is more than twofold. Where
people think for 15 s ("people") they hold a part at high rates, whoever routes. And where nobody comes
twice ("one turn") there is little but the instructions to find again. "people" was drawn up first;
"tools", and steps of 1,024 instead of 2,048 tokens (for all policies alike), after its first figures.

Writes `benchmarks/results/gateway_goodput.json` and `.md`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from statistics import mean
from typing import Any

from benchmarks.gateway.goodput.engine import Hardware
from benchmarks.gateway.goodput.policies import LeastInFlight, Policy, RoundRobin, Routed, Workers
from benchmarks.gateway.goodput.simulation import Simulation, Slo, World
from benchmarks.gateway.goodput.workload import Traffic
from benchmarks.star.machine import describe

RESULTS = Path(__file__).parents[2] / "results"
GOOD_SHARE = 0.99
SEEDS = (11, 12)
SWEEP_NAME = "sweep"
SWEEP = (15.0, 25.0, 35.0, 50.0, 65.0)
LOWEST, HIGHEST = 12.0, 100.0
"""Where the highest rate is looked for."""
RATIO = 1.05
"""How near the highest rate is found."""

Clock = Callable[[], float]
POLICIES: dict[str, Callable[[World, Clock], Policy]] = {
    "round robin": lambda world, clock: RoundRobin(world.names),
    "least in flight": lambda world, clock: LeastInFlight(world.names),
    "routed": lambda world, clock: Routed(world.names, world.traffic, clock),
    "routed, 3 workers": lambda world, clock: Workers(
        [Routed(world.names, world.traffic, clock) for _ in range(3)]
    ),
}
BASIC = ("round robin", "least in flight", "routed")


@dataclass(frozen=True)
class Scenario:
    """A world, and what it stands for."""

    name: str
    meaning: str
    world: World
    seeds: tuple[int, ...] = SEEDS[:1]
    policies: tuple[str, ...] = BASIC


def _scenarios() -> tuple[Scenario, ...]:
    tools = World(traffic=Traffic(mean_thought_s=3.0), warm_up_s=120.0)
    people = World(warm_up_s=240.0)
    one_turn = Traffic(mean_turns=1.0, max_turns=1)
    return (
        Scenario(
            "tools", "3 s between turns, as where a program asks", tools, SEEDS, tuple(POLICIES)
        ),
        Scenario("people", "15 s between turns, as where a person asks", people, SEEDS),
        Scenario(
            "one turn", "nothing said twice but the instructions", replace(tools, traffic=one_turn)
        ),
        Scenario(
            "long",
            "as tools, transcripts of 3,000 tokens (median)",
            replace(tools, traffic=replace(tools.traffic, transcript_median_tokens=3000)),
        ),
        Scenario("slow loads", "as tools, loading an adapter takes 100 ms", _loading(tools, 0.1)),
        Scenario(
            "64 slots",
            "as tools, every engine holds all adapters: what is left is prompts",
            replace(tools, hardware=Hardware(adapter_slots=64)),
        ),
    )


def _loading(world: World, load_s: float) -> World:
    return replace(world, hardware=replace(world.hardware, adapter_load_s=load_s))


@dataclass(frozen=True)
class Outcome:
    """What one run came to; rates are a second, of requests that arrived while it was measured."""

    arrived: float
    good: float
    adapter_loads: float
    read_share: float
    """Of all prompt tokens, those that no cache had."""

    @property
    def good_share(self) -> float:
        """Return the part of the answers that were good."""
        return self.good / self.arrived


def outcome(world: World, policy: str, requests_per_s: float, seed: int) -> Outcome:
    """Run one simulation to its end."""
    simulation = Simulation(world, partial(POLICIES[policy], world))
    simulation.run(requests_per_s, seed)
    return _summary(simulation, world)


def _good_outcome(world: World, policy: str, requests_per_s: float, seed: int) -> Outcome | None:
    """Return the outcome if enough answers are good; twice too many late ones end the run early."""
    simulation = Simulation(world, partial(POLICIES[policy], world))
    most_late = 2 * (1 - GOOD_SHARE) * requests_per_s * world.measured_s
    if not simulation.run(requests_per_s, seed, most_late):
        return None
    found = _summary(simulation, world)
    return found if found.good_share >= GOOD_SHARE else None


def _summary(simulation: Simulation, world: World) -> Outcome:
    until_s = world.warm_up_s + world.measured_s
    counted = [each for each in simulation.requests if world.warm_up_s <= each.arrived_s < until_s]
    counts = [engine.counts for engine in simulation.engines.values()]
    return Outcome(
        arrived=len(counted) / world.measured_s,
        good=sum(map(world.slo.is_met, counted)) / world.measured_s,
        adapter_loads=sum(each.adapter_loads for each in counts) / until_s,
        read_share=sum(each.prompt_tokens_read for each in counts)
        / sum(each.prompt_tokens for each in counts),
    )


def highest(world: World, policy: str, seed: int) -> Outcome:
    """Return the outcome at the highest rate at which enough answers are good."""
    low, high, best = LOWEST, HIGHEST, None
    while high / low > RATIO:
        middle = (low * high) ** 0.5
        found = _good_outcome(world, policy, middle, seed)
        low, high, best = (middle, high, found) if found else (low, middle, best)
    return best or outcome(world, policy, low, seed)


def main() -> None:
    """Run scenarios; each is written as soon as it is done, in the place of what was there."""
    parser = argparse.ArgumentParser(description=__doc__)
    names = [each.name for each in _scenarios()]
    parser.add_argument("scenarios", nargs="*", default=[*names, SWEEP_NAME])
    args = parser.parse_args()
    for scenario in _scenarios():
        if scenario.name in args.scenarios:
            _write("highest", scenario.name, _highest_row(scenario))
    if SWEEP_NAME in args.scenarios:
        for rate in SWEEP:
            _write(SWEEP_NAME, f"{rate:g}", _sweep_row(_scenarios()[0].world, rate))


def _write(table: str, row_name: str, row: dict[str, Any]) -> None:
    path = RESULTS / "gateway_goodput.json"
    before = json.loads(path.read_text()) if path.exists() else {}
    result = {
        **describe(),
        "good_share": GOOD_SHARE,
        "slo": asdict(Slo()),
        "hardware": asdict(Hardware()),
        "traffic": asdict(Traffic()),
        "highest": before.get("highest", {}),
        "sweep": before.get("sweep", {}),
    }
    result[table][row_name] = row
    path.write_text(json.dumps(result, indent=1) + "\n")
    path.with_suffix(".md").write_text(_text(result))
    print(row_name, json.dumps(row), flush=True)


def _highest_row(scenario: Scenario) -> dict[str, Any]:
    row: dict[str, Any] = {
        "meaning": scenario.meaning,
        "seeds": scenario.seeds,
        "world": asdict(scenario.world),
    }
    for policy in scenario.policies:
        found = [highest(scenario.world, policy, seed) for seed in scenario.seeds]
        row[policy] = {
            "good_per_s": round(mean(each.good for each in found), 1),
            "by_seed": [round(each.good, 1) for each in found],
            "adapter_loads_per_s": round(mean(each.adapter_loads for each in found), 2),
            "read_share": round(mean(each.read_share for each in found), 3),
        }
        print(scenario.name, policy, row[policy], flush=True)
    row["routed_over_round_robin"] = _ratio(row, "routed", "round robin")
    row["routed_over_least_in_flight"] = _ratio(row, "routed", "least in flight")
    return row


def _ratio(row: dict[str, Any], one: str, other: str) -> float:
    return round(float(row[one]["good_per_s"] / row[other]["good_per_s"]), 2)


def _sweep_row(world: World, rate: float) -> dict[str, Any]:
    found = {policy: outcome(world, policy, rate, SEEDS[0]) for policy in POLICIES}
    return {
        policy: {"good_per_s": round(each.good, 1), "good_share": round(each.good_share, 4)}
        for policy, each in found.items()
    }


def _text(result: dict[str, Any]) -> str:
    slo = result["slo"]
    lines = [
        "# Goodput of adapter- and prefix-aware routing (simulated)",
        "",
        "Four simulated engines (Llama 3.1 8B on an H100, by roofline), 60 adapters, 16 slots each. "
        f"Good: first token within {slo['first_token_s']:g} s, then {1000 * slo['token_s']:g} ms a "
        f"token in the mean. Virtual time; commit {result['commit']}, {result['date']}. Every "
        "assumption is said in `benchmarks/gateway/goodput/`.",
        "",
        f"Good answers a second at the highest rate of which {result['good_share']:.0%} are good:",
        "",
        f"| scenario | seeds | {' | '.join(POLICIES)} | routed / round robin | / least in flight |",
        "|---|--:|" + "--:|" * (len(POLICIES) + 2),
    ]
    order = [each.name for each in _scenarios()]
    rows = {name: result["highest"][name] for name in order if name in result["highest"]}
    for name, row in rows.items():
        rates = " | ".join(f"{row[p]['good_per_s']:.1f}" if p in row else "" for p in POLICIES)
        lines.append(
            f"| {name}: {row['meaning']} | {len(row['seeds'])} | {rates} "
            f"| {row['routed_over_round_robin']:.2f} | {row['routed_over_least_in_flight']:.2f} |"
        )
    lines += ["", "What the engines did at these rates:", ""]
    lines += ["| scenario | policy | adapters loaded a second | prompt tokens not in a cache |"]
    lines += ["|---|---|--:|--:|"]
    lines += [
        f"| {name} | {p} | {row[p]['adapter_loads_per_s']:.2f} | {row[p]['read_share']:.0%} |"
        for name, row in rows.items()
        for p in POLICIES
        if p in row
    ]
    lines += ["", f"Good answers a second by the rate of requests ({order[0]}, one seed):", ""]
    lines += [f"| requests/s | {' | '.join(POLICIES)} |", "|--:|" + "--:|" * len(POLICIES)]
    lines += [
        f"| {rate} | "
        + " | ".join(f"{row[p]['good_per_s']:.1f} ({row[p]['good_share']:.0%})" for p in POLICIES)
        + " |"
        for rate, row in sorted(result["sweep"].items(), key=lambda item: float(item[0]))
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
