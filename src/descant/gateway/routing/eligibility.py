"""Which of a route's upstreams can answer a call at all."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from functools import lru_cache

from descant.gateway.call import Call
from descant.gateway.config import UpstreamConfig
from descant.gateway.routing.opening_hours import OpeningHours
from descant.schema.errors import ContextTooLong, ModelNotFound, TooBusy


class Eligibility:
    """The upstreams' models, hours and context lengths."""

    def __init__(self, upstreams: Mapping[str, UpstreamConfig]):
        self._upstreams = dict(upstreams)
        self._hours = {
            name: OpeningHours.parse(upstream.hours)
            for name, upstream in self._upstreams.items()
            if upstream.hours is not None
        }

    def of(self, call: Call, names: Iterable[str], time_s: float) -> list[str]:
        """Return those that can answer at this Unix time.

        Raises:
            ModelNotFound: none of them serves the model.
            ContextTooLong: none of those takes so many tokens.
            TooBusy: none of those is open at this time of day.
        """
        serving = [name for name in names if _serves(self._upstreams[name].models, call.model)]
        if not serving:
            raise ModelNotFound(f"No upstream serves {call.model!r}.", field="model")
        fitting = [name for name in serving if self._fits(name, call.most_tokens)]
        if not fitting:
            longest = max(self._upstreams[name].max_context_tokens or 0 for name in serving)
            raise ContextTooLong(
                f"Prompt and answer may be {call.most_tokens:,} tokens; {longest:,} is the most.",
                field="max_tokens",
                remedy="Shorten the prompt, or ask for fewer tokens.",
            )
        open_now = [name for name in fitting if self._is_open(name, time_s)]
        if not open_now:
            wait_s = min(self._hours[name].opens_in_s(time_s) for name in fitting)
            error = TooBusy(
                f"{call.model!r} is not answered at this time of day.",
                remedy=f"Ask again in {wait_s:.0f} seconds.",
            )
            error.wait_s = wait_s
            raise error
        return open_now

    def _fits(self, name: str, tokens: int) -> bool:
        most = self._upstreams[name].max_context_tokens
        return most is None or tokens <= most

    def _is_open(self, name: str, time_s: float) -> bool:
        hours = self._hours.get(name)
        return hours is None or hours.is_open(time_s)


@lru_cache(maxsize=4096)
def _serves(globs: tuple[str, ...], model: str) -> bool:
    return any(fnmatchcase(model, glob) for glob in globs)
