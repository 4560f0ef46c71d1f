from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Gauge, generate_latest

from descant.gateway.routing.metrics_text import read_figures
from descant.monitoring import Metrics

VLLM = """
# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="meta-llama/Llama-3.1-8B"} 3.0
vllm:num_requests_running{engine="1",model_name="meta-llama/Llama-3.1-8B"} 4.0
vllm:num_requests_waiting{engine="0",model_name="meta-llama/Llama-3.1-8B"} 2.0
vllm:kv_cache_usage_perc{engine="0",model_name="meta-llama/Llama-3.1-8B"} 0.25
vllm:kv_cache_usage_perc{engine="1",model_name="meta-llama/Llama-3.1-8B"} 0.5
vllm:lora_requests_info{max_lora="4",running_lora_adapters="old",waiting_lora_adapters=""} 1.7e+09
vllm:lora_requests_info{max_lora="4",running_lora_adapters="a,b",waiting_lora_adapters="c"} 1.8e+09
vllm:time_to_first_token_seconds_bucket{le="0.001"} 0.0
"""


def test_what_vllm_says() -> None:
    figures = read_figures(VLLM)
    assert figures is not None
    assert (figures.running, figures.waiting, figures.kv_use) == (7.0, 2.0, 0.5)
    assert figures.adapter_slots == 4
    assert figures.active_adapters == {"a", "b"}
    assert figures.loading_adapters == {"c"}
    assert figures.base_models == {"meta-llama/Llama-3.1-8B"}


@dataclass
class Stats:
    """An engine's figures, as `descant.engine.EngineStats` has them."""

    num_running: int = 5
    num_waiting: int = 6
    kv_blocks: int = 8
    kv_blocks_held: int = 2
    adapters_active: int = 0
    adapters_used: int = 0
    adapter_bytes: int = 0
    adapter_activations: int = 0
    adapter_evictions: int = 0
    preemptions: int = 0
    tokens_drafted: int = 0
    tokens_draft_accepted: int = 0
    prompt_tokens: int = 0
    prompt_tokens_cached: int = 0


def test_what_descant_says() -> None:
    metrics = Metrics(CollectorRegistry(), "base")
    assert read_figures(metrics.render().decode()) is None
    metrics.take_engine_stats(Stats())
    figures = read_figures(metrics.render().decode())
    assert figures is not None
    assert (figures.running, figures.waiting, figures.kv_use) == (5.0, 6.0, 0.25)
    assert figures.adapter_slots is None


@given(st.floats(0, 1e9), st.text(min_size=1))
def test_figures_are_those_the_library_wrote(value: float, model: str) -> None:
    registry = CollectorRegistry()
    gauge = Gauge("vllm:num_requests_running", "Any.", ["engine", "model_name"], registry=registry)
    gauge.labels("}0,", model).set(value)
    figures = read_figures(generate_latest(registry).decode())
    assert figures is not None
    assert figures.running == value


@given(st.text())
def test_any_text_is_borne(text: str) -> None:
    read_figures(text)
    figures = read_figures("vllm:num_requests_running 1\nvllm:num_requests_waiting NaN\n" + text)
    assert figures is not None
    assert figures.running >= 1


def test_a_line_that_is_broken_costs_only_itself() -> None:
    text = 'vllm:num_requests_running{model_name="m"} 2\nvllm:kv_cache_usage_perc{engi'
    figures = read_figures(text)
    assert figures is not None
    assert figures.running == 2
    assert figures.kv_use is None


def test_the_old_name_of_kv_use_is_known() -> None:
    figures = read_figures("vllm:num_requests_running 1\nvllm:gpu_cache_usage_perc 0.7\n")
    assert figures is not None
    assert figures.kv_use == 0.7
