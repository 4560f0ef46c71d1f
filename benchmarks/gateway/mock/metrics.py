"""What vLLM would say of itself at /metrics."""

from __future__ import annotations

from benchmarks.gateway.mock.counts import Counts
from benchmarks.gateway.mock.knobs import Knobs


def metrics_text(counts: Counts, knobs: Knobs) -> bytes:
    """Return gauges and counters by vLLM's names."""
    label = f'{{model_name="{knobs.models[0]}"}}'
    gauges = {
        "num_requests_running": counts.running,
        "num_requests_waiting": knobs.waiting,
        "kv_cache_usage_perc": knobs.kv_usage,
    }
    counters = {
        "prompt_tokens_total": counts.prompt_tokens,
        "generation_tokens_total": counts.completion_tokens,
    }
    lines = [
        *(
            f"# TYPE vllm:{name} gauge\nvllm:{name}{label} {value}"
            for name, value in gauges.items()
        ),
        *(
            f"# TYPE vllm:{name} counter\nvllm:{name}{label} {value}"
            for name, value in counters.items()
        ),
        _finished(counts, knobs),
        _adapters(knobs),
    ]
    return ("\n".join(lines) + "\n").encode()


def _finished(counts: Counts, knobs: Knobs) -> str:
    labels = f'model_name="{knobs.models[0]}",finished_reason="stop"'
    name = "vllm:request_success_total"
    return f"# TYPE {name} counter\n{name}{{{labels}}} {counts.outcomes['answered']}"


def _adapters(knobs: Knobs) -> str:
    running = ",".join(knobs.adapters)
    labels = f'max_lora="60",running_lora_adapters="{running}",waiting_lora_adapters=""'
    return f"# TYPE vllm:lora_requests_info gauge\nvllm:lora_requests_info{{{labels}}} 1.0"
