"""An API's bill against that of machines of one's own, for one workload."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from math import ceil
from typing import Any

from descant.cost.prices import ApiPrice, MachinePrice
from descant.cost.speed import MeasuredSpeed
from descant.cost.workload import Workload

_HOUR_S, _DAY_HOURS, _MILLION = 3600.0, 24.0, 1e6


@dataclass(frozen=True)
class BreakEven:
    """From how many conversations a day on a machine of one's own is cheaper."""

    conversations_per_day: float | None
    """None: at no volume."""
    utilisation: float | None
    """Of one machine there: seconds at work over all seconds."""


@dataclass(frozen=True)
class CostComparison:
    """Money in the currency of the price list."""

    workload: Workload
    api_per_conversation: float
    """One request for each question; a conversation read before costs what cached tokens cost."""
    api_all_at_once: float
    """All questions in one request."""
    own_per_conversation: float | None
    """None where a conversation takes longer than it may."""
    conversation_s: float
    """Measured, and scaled to the workload's sizes."""
    machines: int
    utilisation: float
    break_even: BreakEven
    api_one_more: float
    """What one more question adds to a conversation."""
    own_one_more: float
    """Likewise, where the machine is not idle anyway."""

    @property
    def is_quick_enough(self) -> bool:
        """Whether a conversation is answered within the latency asked for."""
        return self.conversation_s <= self.workload.latency_s

    @property
    def ratio(self) -> float | None:
        """API over own: how many times as much it costs."""
        own = self.own_per_conversation
        return None if own is None or own == 0 else self.api_per_conversation / own

    @property
    def ratio_at_once(self) -> float | None:
        """The same for an API that is asked all questions in one request."""
        own = self.own_per_conversation
        return None if own is None or own == 0 else self.api_all_at_once / own

    def per_million(self, per_conversation: float) -> float:
        """Return money for a million tokens of conversation."""
        return per_conversation / self.workload.tokens * _MILLION

    def to_json(self) -> dict[str, Any]:
        """Return plain dictionaries."""
        own = self.own_per_conversation
        return {
            **asdict(self),
            "ratio": self.ratio,
            "ratio_at_once": self.ratio_at_once,
            "is_quick_enough": self.is_quick_enough,
            "api_per_million_tokens": self.per_million(self.api_per_conversation),
            "own_per_million_tokens": None if own is None else self.per_million(own),
        }


def compare_costs(
    workload: Workload,
    speed: MeasuredSpeed,
    api: ApiPrice,
    machine: MachinePrice,
    overhead_share: float = 0.0,
) -> CostComparison:
    """Return both bills; a machine is paid for all day, and there are enough for the busiest hour.

    Semantics:
        machines = ceil(peak per hour * s / 3600);  own = machines * 24 h * price * (1 + overhead)
    """
    conversation_s = speed.conversation_s(workload)
    per_hour = machine.per_hour * (1 + overhead_share)
    machines = max(1, ceil(workload.peak_per_hour * conversation_s / _HOUR_S))
    per_day = machines * _DAY_HOURS * per_hour
    api_each = _api_each(workload, api)
    is_quick = conversation_s <= workload.latency_s
    return CostComparison(
        workload=workload,
        api_per_conversation=api_each,
        api_all_at_once=_api_at_once(workload, api),
        own_per_conversation=per_day / workload.conversations_per_day if is_quick else None,
        conversation_s=conversation_s,
        machines=machines,
        utilisation=workload.conversations_per_day * conversation_s / (machines * 86400),
        break_even=_break_even(workload, conversation_s, per_hour, api_each)
        if is_quick
        else BreakEven(None, None),
        api_one_more=_api_each(replace(workload, questions=workload.questions + 1), api) - api_each,
        own_one_more=speed.question_s / _HOUR_S * per_hour,
    )


def _api_each(workload: Workload, api: ApiPrice) -> float:
    again = workload.questions - 1
    cached = api.read if api.cached is None else api.cached
    read = workload.tokens * (api.read + again * cached)
    read += workload.questions * workload.question_tokens * api.read
    return (read + workload.questions * workload.answer_tokens * api.written) / _MILLION


def _api_at_once(workload: Workload, api: ApiPrice) -> float:
    read = workload.tokens + workload.questions * workload.question_tokens
    written = workload.questions * workload.answer_tokens
    return (read * api.read + written * api.written) / _MILLION


def _break_even(
    workload: Workload, conversation_s: float, per_hour: float, api_each: float
) -> BreakEven:
    """Return where n machines, each full in the busiest hour, first cost less than the API."""
    if api_each == 0:
        return BreakEven(None, None)
    machine_day = _DAY_HOURS * per_hour
    full = _HOUR_S / conversation_s * workload.busy_hours / workload.peak
    if machine_day / full >= api_each:
        return BreakEven(None, None)
    volume = machine_day / api_each
    return BreakEven(volume, volume * conversation_s / 86400)
