"""What a scrape shows, how many series there can be, and who is asked."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from functools import partial

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from descant.gateway import Usage
from descant.gateway.watching import (
    GatewayMetrics,
    KnownNames,
    LedgerFigures,
    RequestFigures,
    SharingFigures,
    UpstreamFigures,
    serve_metrics,
    worker_port,
)
from descant.gateway.watching.bounded import Bounded, Counts, Histogram
from descant.schema.errors import InvalidConfig

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def made(
    most_names: int = 200, known: KnownNames | None = None
) -> tuple[GatewayMetrics, CollectorRegistry]:
    registry = CollectorRegistry()
    return GatewayMetrics(registry, known, worker=3, most_names=most_names), registry


def samples(registry: CollectorRegistry) -> Samples:
    """What a scraper reads, without the worker's number, which is everywhere the same."""
    found: Samples = {}
    for family in text_string_to_metric_families(generate_latest(registry).decode()):
        for sample in family.samples:
            labels = dict(sample.labels)
            assert labels.pop("worker") == "3"
            found[sample.name, tuple(sorted(labels.items()))] = sample.value
    return found


def value(registry: CollectorRegistry, name: str, **labels: str) -> float:
    return samples(registry)[f"descant_gateway_{name}", tuple(sorted(labels.items()))]


def figures(model: str = "polite", tenant: str = "quality", outcome: str = "ok") -> RequestFigures:
    return RequestFigures(
        model,
        tenant,
        outcome,
        total_s=0.3,
        added_s=0.0005,
        upstream="own",
        usage=Usage(100, 20, 60),
        cost_nano=2_500_000,
        first_byte_s=0.04,
    )


def count(metrics: GatewayMetrics, each: RequestFigures) -> None:
    metrics.begin()
    metrics.end(each)


def test_a_request_is_told_by_model_and_by_tenant() -> None:
    metrics, registry = made()
    for _ in range(2):
        count(metrics, figures())
    metrics.begin()
    read = partial(value, registry)
    assert read("requests_total", model="polite", upstream="own", outcome="ok") == 2
    assert read("tenant_requests_total", tenant="quality", outcome="ok") == 2
    assert read("tokens_total", model="polite", kind="in") == 200
    assert read("tokens_total", model="polite", kind="out") == 40
    assert read("tenant_tokens_total", tenant="quality", kind="cached") == 120
    assert read("money_total", model="polite") == pytest.approx(0.005)
    assert read("first_byte_seconds_bucket", model="polite", le="0.025") == 0
    assert read("first_byte_seconds_bucket", model="polite", le="0.05") == 2
    assert read("request_seconds_sum", model="polite") == pytest.approx(0.6)
    assert read("added_seconds_count") == 2
    assert read("in_flight") == 1


def test_what_never_had_a_first_byte_has_none_in_the_metrics() -> None:
    metrics, registry = made()
    count(metrics, RequestFigures("m", "t", "rate_limit_exceeded", total_s=0.001, added_s=0.001))
    assert not any(name.startswith("descant_gateway_first_byte") for name, _ in samples(registry))
    refused = value(
        registry, "requests_total", model="m", upstream="none", outcome="rate_limit_exceeded"
    )
    assert refused == 1


def test_events_refusals_cache_and_gaps() -> None:
    metrics, registry = made()
    metrics.count_event("own", "attempt")
    metrics.count_event("own", "retry")
    metrics.count_event("own", "attempt")
    metrics.count_refusal("rate_limit_exceeded")
    metrics.count_cache("exact", "hit")
    metrics.observe_loop_lag(0.003)
    gaps = metrics.gaps_of("polite")
    for gap_s in (0.015, 0.04):
        gaps.observe(gap_s)
    read = partial(value, registry)
    assert read("upstream_events_total", upstream="own", event="attempt") == 2
    assert read("upstream_events_total", upstream="own", event="retry") == 1
    assert read("refused_total", kind="rate_limit_exceeded") == 1
    assert read("cache_total", tier="exact", result="hit") == 1
    assert read("inter_token_seconds_bucket", model="polite", le="0.02") == 1
    assert read("event_loop_lag_seconds_bucket", le="0.005") == 1


def test_upstreams_and_ledger_are_asked_when_the_metrics_are() -> None:
    metrics, registry = made()
    standing = [UpstreamFigures("own", 4, 0.0, "closed"), UpstreamFigures("far", 0, 7.5, "open")]
    metrics.watch_upstreams(lambda: standing)
    metrics.watch_ledger(lambda: LedgerFigures(250, 3))
    read = partial(value, registry)
    assert read("upstream_in_flight", upstream="own") == 4
    assert read("upstream_cooldown_seconds", upstream="far") == 7.5
    assert read("upstream_breaker", upstream="far", state="open") == 1
    assert read("upstream_breaker", upstream="far", state="closed") == 0
    assert (read("ledger_waiting_bytes"), read("ledger_dropped_total")) == (250, 3)
    standing.clear()
    assert not any(name == "descant_gateway_upstream_in_flight" for name, _ in samples(registry))


def test_names_that_callers_make_up_fill_neither_memory_nor_a_scrape() -> None:
    known = KnownNames(models=("polite",), tenants=("quality",))
    metrics, registry = made(20, known)
    for number in range(500):
        count(metrics, figures(f"made-up-{number}", f"tenant-{number}", f"error-{number}"))
    few = len(samples(registry))
    for number in range(500, 5000):
        count(metrics, figures(f"made-up-{number}", f"tenant-{number}", f"error-{number}"))
    assert len(samples(registry)) == few
    count(metrics, figures())
    read = partial(value, registry)
    assert read("tokens_total", model="polite", kind="in") == 100
    assert read("tokens_total", model="other", kind="in") == 100 * (5000 - 20)
    assert read("tenant_tokens_total", tenant="other", kind="out") == 20 * (5000 - 20)


@pytest.mark.parametrize("name", ["x" * 129, "", "a\nb", "\x00", "a\u202eb", "other"])
def test_a_name_that_may_not_be_shown_is_other(name: str) -> None:
    metrics, registry = made()
    count(metrics, figures(model=name))
    assert value(registry, "tokens_total", model="other", kind="in") == 100
    models = {dict(labels).get("model") for _, labels in samples(registry)}
    assert models == {"other", None}


@pytest.mark.parametrize("name", ['a"b', "a\\b", "a{b}", "ü", "a,b=c"])
def test_a_name_with_signs_of_the_format_survives_it(name: str) -> None:
    metrics, registry = made()
    count(metrics, figures(model=name))
    assert value(registry, "tokens_total", model=name, kind="in") == 100


@given(st.lists(st.text(max_size=3), max_size=60), st.lists(st.text(max_size=3), max_size=3))
def test_nothing_is_lost_however_names_come(names: list[str], known: list[str]) -> None:
    """The slow twin: a counter without bounds, of which only the kept names are looked at."""
    bounded: Bounded[str, Counts] = Bounded(Counts, "other", known, most=5)
    for name in names:
        bounded[name].value += 1
    slow = Counter(names)
    shown = dict(bounded.shown())
    assert len(shown) <= len(set(known)) + 5 + 1
    assert sum(count.value for count in shown.values()) == len(names)
    for name, seen in shown.items():
        if name != "other":
            assert seen.value == slow[name]
    assert set(known) <= set(shown)


BOUNDS = (0.1, 0.5, 1.0)


@given(st.lists(st.floats(0, 2)))
def test_a_histogram_counts_what_is_not_above_each_edge(values: list[float]) -> None:
    histogram = Histogram(BOUNDS)
    for each in values:
        histogram.observe(each)
    edges = [*BOUNDS, float("inf")]
    slow = [sum(each <= edge for each in values) for edge in edges]
    assert [sum(histogram.counts[: n + 1]) for n in range(len(edges))] == slow
    assert histogram.total == pytest.approx(sum(values))


def test_a_scrape_in_another_thread_meets_no_half_of_anything() -> None:
    """Names come in while the scrape walks over them; a walk over the dictionary itself would fail."""
    bounded: Bounded[str, Counts] = Bounded(Counts, "other", most=100_000)
    done, mistakes, walks = threading.Event(), list[RuntimeError](), list[int]()

    def scrape() -> None:
        while not done.is_set():
            try:
                walks.append(len(bounded.shown()))
            except RuntimeError as error:
                mistakes.append(error)

    scraper = threading.Thread(target=scrape)
    scraper.start()
    for number in range(20_000):
        bounded[f"model-{number}"].value += 1
    done.set()
    scraper.join()
    assert mistakes == []
    assert walks == sorted(walks)


def test_each_worker_answers_on_a_port_of_its_own() -> None:
    assert [worker_port(9400, worker) for worker in range(3)] == [9400, 9401, 9402]
    with pytest.raises(InvalidConfig, match="65536"):
        worker_port(65_535, 1)


async def ask(registry: CollectorRegistry) -> tuple[int, str, str]:
    runner = await serve_metrics(registry, "127.0.0.1", 0)
    try:
        host, port = runner.addresses[0][:2]
        async with aiohttp.ClientSession(f"http://{host}:{port}") as session:
            async with session.get("/metrics") as answer:
                text = await answer.text()
            async with session.get("/") as nothing:
                assert nothing.status == 404
        return answer.status, answer.content_type, text
    finally:
        await runner.cleanup()


def test_the_metrics_are_served() -> None:
    metrics, registry = made()
    count(metrics, figures())
    status, kind, text = asyncio.run(ask(registry))
    assert (status, kind) == (200, "text/plain")
    assert 'descant_gateway_in_flight{worker="3"} 0.0' in text


def test_where_shared_limits_stand_is_told_once_there_are_any() -> None:
    metrics, registry = made()
    assert not any("limits_" in name for name, _ in samples(registry))
    metrics.watch_sharing(lambda: SharingFigures(is_shared=False, losses=2))
    assert value(registry, "limits_shared") == 0
    assert value(registry, "limits_losses_total") == 2
