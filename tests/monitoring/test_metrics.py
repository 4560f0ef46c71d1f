from __future__ import annotations

from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from descant.monitoring import Metrics
from descant.schema import AdapterRef, Answer, Scorecard, Usage, unanswered

MODEL = {"model_name": "tiny"}


def scorecard() -> Scorecard:
    ref = AdapterRef("polite", "sha256:1")
    answer = Answer("polite", "yes", {"yes": 0.9, "no": 0.1}, 0.9, ref)
    return Scorecard("t", (answer, unanswered("upsell", "No adapter.")), Usage(120, 2300, 0.4))


def test_a_scorecard_counts_tokens_answers_and_time() -> None:
    registry = CollectorRegistry()
    metrics = Metrics(registry, "tiny")
    metrics.observe_scorecard(scorecard(), 0.5)
    metrics.observe_scorecard(scorecard(), 1.5)
    value = registry.get_sample_value
    assert value("descant_tokens_read_total", MODEL) == 240
    assert value("descant_tokens_shared_total", MODEL) == 4600
    assert value("vllm:e2e_request_latency_seconds_sum", MODEL) == 2.0
    assert value("vllm:e2e_request_latency_seconds_count", MODEL) == 2
    answered = {"indicator": "polite", "outcome": "answered"}
    assert value("descant_answers_total", answered) == 2
    assert value("descant_answers_total", {"indicator": "upsell", "outcome": "unanswered"}) == 2


def test_phases_and_requests_are_kept_apart() -> None:
    registry = CollectorRegistry()
    metrics = Metrics(registry, "tiny")
    metrics.observe_phases(reading_s=2.0, fanout_s=0.25)
    metrics.count_request("/v1/scores", 200)
    metrics.count_request("/v1/scores", 400)
    value = registry.get_sample_value
    assert value("descant_reading_seconds_sum", MODEL) == 2.0
    assert value("descant_fanout_seconds_sum", MODEL) == 0.25
    assert value("descant_requests_total", {"route": "/v1/scores", "status": "400"}) == 1


def test_gauges_fall_back_even_when_the_request_fails() -> None:
    registry = CollectorRegistry()
    metrics = Metrics(registry, "tiny")
    try:
        with metrics.waiting(), metrics.running():
            assert registry.get_sample_value("vllm:num_requests_waiting", MODEL) == 1
            assert registry.get_sample_value("vllm:num_requests_running", MODEL) == 1
            raise OSError
    except OSError:
        pass
    assert registry.get_sample_value("vllm:num_requests_waiting", MODEL) == 0
    assert registry.get_sample_value("vllm:num_requests_running", MODEL) == 0


def test_two_processes_worth_of_metrics_do_not_meet() -> None:
    first, second = Metrics(CollectorRegistry(), "a"), Metrics(CollectorRegistry(), "b")
    first.count_request("/health", 200)
    assert b'descant_requests_total{route="/health",status="200"} 1.0' in first.render()
    assert b'route="/health"' not in second.render()


def test_the_text_can_be_read_by_a_scraper() -> None:
    metrics = Metrics(CollectorRegistry(), "tiny")
    metrics.observe_scorecard(scorecard(), 0.5)
    names = {family.name for family in text_string_to_metric_families(metrics.render().decode())}
    assert {"descant_tokens_read", "vllm:e2e_request_latency_seconds"} <= names
