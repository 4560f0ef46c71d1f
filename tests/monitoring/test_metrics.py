from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from descant.adapters import LibraryStats
from descant.engine import EngineStats
from descant.monitoring import Metrics
from descant.monitoring.metrics import BASE
from descant.schema import AdapterRef, Answer, Scorecard, Usage, unanswered

MODEL = {"model_name": "tiny"}
STATS = EngineStats(
    num_running=3,
    num_waiting=2,
    kv_blocks=200,
    kv_blocks_held=50,
    adapters_active=7,
    adapters_used=4,
    adapter_bytes=4096,
    adapter_activations=9,
    adapter_evictions=2,
    preemptions=1,
    tokens_drafted=40,
    tokens_draft_accepted=30,
    tokens_computed=1000,
    prompt_tokens=600,
    prompt_tokens_cached=150,
)
ENGINE_FIGURES = {
    "vllm:num_requests_running": 3,
    "vllm:num_requests_waiting": 2,
    "vllm:kv_cache_usage_perc": 0.25,
    "vllm:num_preemptions_total": 1,
    "vllm:prompt_tokens_total": 600,
    "vllm:prefix_cache_queries_total": 600,
    "vllm:prefix_cache_hits_total": 150,
    "vllm:spec_decode_num_draft_tokens_total": 40,
    "vllm:spec_decode_num_accepted_tokens_total": 30,
    "descant_adapters_active": 7,
    "descant_adapters_used": 4,
    "descant_adapter_slot_bytes": 4096,
    "descant_adapter_activations_total": 9,
    "descant_adapter_evictions_total": 2,
}


@dataclass
class Watched:
    """Metrics, and the registry they are in."""

    registry: CollectorRegistry
    metrics: Metrics

    def value(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(name, labels or MODEL)


@pytest.fixture
def watched() -> Watched:
    registry = CollectorRegistry()
    return Watched(registry, Metrics(registry, "tiny"))


def scorecard() -> Scorecard:
    ref = AdapterRef("polite", "sha256:1")
    answer = Answer("polite", "yes", {"yes": 0.9, "no": 0.1}, 0.9, ref)
    return Scorecard("t", (answer, unanswered("upsell", "No adapter.")), Usage(120, 2300, 0.4))


def test_a_scorecard_counts_tokens_answers_and_time(watched: Watched) -> None:
    watched.metrics.observe_scorecard(scorecard(), 0.5)
    watched.metrics.observe_scorecard(scorecard(), 1.5)
    assert watched.value("descant_tokens_read_total") == 240
    assert watched.value("descant_tokens_shared_total") == 4600
    assert watched.value("vllm:e2e_request_latency_seconds_sum") == 2.0
    assert watched.value("vllm:e2e_request_latency_seconds_count") == 2
    answers = "descant_answers_total"
    assert watched.value(answers, indicator="polite", outcome="answered") == 2
    assert watched.value(answers, indicator="upsell", outcome="unanswered") == 2
    assert watched.value("descant_adapter_requests_total", adapter="polite") == 2
    assert watched.value("descant_adapter_requests_total", adapter="upsell") is None


def test_requests_are_counted_by_route_and_status(watched: Watched) -> None:
    watched.metrics.count_request("/v1/scores", 200)
    watched.metrics.count_request("/v1/scores", 400)
    watched.metrics.count_request("/v1/scores", 400)
    requests = "descant_requests_total"
    assert watched.value(requests, route="/v1/scores", status="200") == 1
    assert watched.value(requests, route="/v1/scores", status="400") == 2


def test_a_generations_tokens_and_times_are_kept_by_adapter_and_altogether(
    watched: Watched,
) -> None:
    metrics = watched.metrics
    metrics.observe_first_token("polite", 0.5)
    metrics.observe_next_token("polite", 0.25)
    metrics.observe_next_token("polite", 0.25)
    metrics.observe_generation("polite", "length", 1.0)
    metrics.observe_first_token(BASE, 0.125)
    metrics.observe_generation(BASE, "stop", 0.25)
    assert watched.value("vllm:generation_tokens_total") == 4
    assert watched.value("vllm:time_to_first_token_seconds_sum") == 0.625
    assert watched.value("vllm:time_to_first_token_seconds_count") == 2
    assert watched.value("vllm:inter_token_latency_seconds_count") == 2
    assert watched.value("vllm:e2e_request_latency_seconds_sum") == 1.25
    success = "vllm:request_success_total"
    assert watched.value(success, **MODEL, finished_reason="length") == 1
    assert watched.value(success, **MODEL, finished_reason="stop") == 1
    for adapter, tokens, first_s, next_s in (("polite", 3, 0.5, 0.5), (BASE, 1, 0.125, None)):
        of = {"adapter": adapter}
        assert watched.value("descant_adapter_generation_tokens_total", **of) == tokens
        assert watched.value("descant_adapter_requests_total", **of) == 1
        prefix = "descant_adapter_time_to_first_token_seconds"
        assert watched.value(f"{prefix}_sum", **of) == first_s
        assert watched.value("descant_adapter_inter_token_latency_seconds_sum", **of) == next_s


def test_errors_are_counted_by_adapter(watched: Watched) -> None:
    watched.metrics.count_error("polite")
    assert watched.value("descant_adapter_errors_total", adapter="polite") == 1
    assert watched.value("descant_adapter_errors_total", adapter=BASE) is None


def test_the_engine_has_no_figures_before_the_first_are_taken(watched: Watched) -> None:
    assert {name: watched.value(name) for name in ENGINE_FIGURES} == dict.fromkeys(ENGINE_FIGURES)


def test_the_engines_figures_have_vllms_names(watched: Watched) -> None:
    watched.metrics.take_engine_stats(STATS)
    assert {name: watched.value(name) for name in ENGINE_FIGURES} == ENGINE_FIGURES


def test_the_engines_counts_are_told_as_they_are_and_never_added_up(watched: Watched) -> None:
    for _ in range(3):
        watched.metrics.take_engine_stats(STATS)
        assert watched.value("vllm:prompt_tokens_total") == 600
    watched.metrics.take_engine_stats(replace(STATS, num_running=0, prompt_tokens=601))
    assert watched.value("vllm:prompt_tokens_total") == 601
    assert watched.value("vllm:num_requests_running") == 0


def test_the_librarys_figures_are_asked_for_when_somebody_asks(watched: Watched) -> None:
    stats = [LibraryStats(loads=4, load_s=0.5, evictions=1, host_bytes=2048)]
    watched.metrics.watch_library(lambda: stats[-1])
    value = watched.registry.get_sample_value
    assert value("descant_adapter_loads_total") == 4
    assert value("descant_adapter_load_seconds_total") == 0.5
    assert value("descant_adapter_host_evictions_total") == 1
    assert value("descant_adapter_host_bytes") == 2048
    stats.append(replace(stats[0], loads=5))
    assert value("descant_adapter_loads_total") == 5


def test_two_processes_worth_of_metrics_do_not_meet() -> None:
    first, second = Metrics(CollectorRegistry(), "a"), Metrics(CollectorRegistry(), "b")
    first.count_request("/health", 200)
    assert b'descant_requests_total{route="/health",status="200"} 1.0' in first.render()
    assert b'route="/health"' not in second.render()


def test_the_text_can_be_read_by_a_scraper(watched: Watched) -> None:
    watched.metrics.observe_scorecard(scorecard(), 0.5)
    watched.metrics.take_engine_stats(STATS)
    families = text_string_to_metric_families(watched.metrics.render().decode())
    told = {sample.name for family in families for sample in family.samples}
    assert told >= {*ENGINE_FIGURES, "descant_tokens_read_total"}
    assert "vllm:e2e_request_latency_seconds_bucket" in told
