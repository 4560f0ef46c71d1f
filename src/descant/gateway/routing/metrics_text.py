"""What an engine says of itself at ``/metrics``: vLLM's names, which Descant's engine has too."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import isfinite

_SAMPLE = re.compile(r"^([A-Za-z_:][\w:]*)(?:\{(.*)\})?\s+(\S+)")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
_RUNNING = "vllm:num_requests_running"
_WAITING = "vllm:num_requests_waiting"
_KV_USE = ("vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc")
_LORA = "vllm:lora_requests_info"
_WANTED = frozenset((_RUNNING, _WAITING, *_KV_USE, _LORA))


@dataclass(frozen=True, slots=True)
class Sample:
    """One line of Prometheus text."""

    name: str
    labels: Mapping[str, str]
    value: float


@dataclass(frozen=True, slots=True)
class Figures:
    """Where an engine stood; None is what it did not say."""

    running: float = 0.0
    waiting: float = 0.0
    kv_use: float | None = None
    """The part of the KV cache in use; 1 is all."""
    adapter_slots: int | None = None
    active_adapters: frozenset[str] = frozenset()
    loading_adapters: frozenset[str] = frozenset()
    base_models: frozenset[str] = frozenset()


def samples(text: str) -> Iterator[Sample]:
    """Yield the samples of the names in use here; lines that cannot be read are passed over."""
    for line in text.split("\n"):
        match = _SAMPLE.match(line)
        if match is None or match[1] not in _WANTED:
            continue
        try:
            value = float(match[3])
        except ValueError:
            continue
        if isfinite(value):
            yield Sample(match[1], dict(_LABEL.findall(match[2] or "")), value)


def read_figures(text: str) -> Figures | None:
    """Return what the text says; None where there is no word of an engine in it.

    Engines of one process (data-parallel ones have a line each) are added up; of their KV caches the
    fullest counts. The adapters are those of the newest ``vllm:lora_requests_info``: its value is the
    time at which it was true, and old ones are never withdrawn.
    """
    found = list(samples(text))
    if not any(sample.name in (_RUNNING, _WAITING) for sample in found):
        return None
    kv_use = [sample.value for sample in found if sample.name in _KV_USE]
    lora = max(
        (sample for sample in found if sample.name == _LORA),
        key=lambda sample: sample.value,
        default=Sample(_LORA, {}, 0.0),
    ).labels
    return Figures(
        running=sum(sample.value for sample in found if sample.name == _RUNNING),
        waiting=sum(sample.value for sample in found if sample.name == _WAITING),
        kv_use=max(kv_use, default=None),
        adapter_slots=_count(lora.get("max_lora", "")),
        active_adapters=_names(lora.get("running_lora_adapters", "")),
        loading_adapters=_names(lora.get("waiting_lora_adapters", "")),
        base_models=frozenset(
            sample.labels["model_name"] for sample in found if "model_name" in sample.labels
        ),
    )


def _names(text: str) -> frozenset[str]:
    return frozenset(name.strip() for name in text.split(",") if name.strip())


def _count(text: str) -> int | None:
    return int(text) if text.isdecimal() and int(text) > 0 else None
