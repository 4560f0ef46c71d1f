"""What a batch took, read from the lines of its output as they pass by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from descant.gateway.batches.line_splitter import LineSplitter
from descant.gateway.call import Usage
from descant.gateway.dialects.document import object_in, parse_object, text_in
from descant.gateway.dialects.openai_usage import read_usage
from descant.gateway.intake import SCORECARD
from descant.gateway.upstream import MOST_ANSWER_BYTES


@dataclass(frozen=True)
class ModelUsage:
    """What one model's answers in a file took together."""

    model: str
    usage: Usage


class OutputUsage:
    """Adds up a file, whole; one that is no output has nothing in it.

    Raises (all of it):
        InputError: a line is longer than any answer.
    """

    def __init__(self) -> None:
        self._splitter = LineSplitter(MOST_ANSWER_BYTES)
        self._found: dict[str, Usage] = {}

    def feed(self, data: bytes) -> None:
        """Read the next piece."""
        for line in self._splitter.feed(data):
            self._add(line)

    def end(self) -> list[ModelUsage]:
        """Return what every model took, in the order in which they come in the file."""
        for line in self._splitter.end():
            self._add(line)
        return [ModelUsage(model, usage) for model, usage in self._found.items()]

    def _add(self, line: bytes) -> None:
        answer = object_in(object_in(parse_object(line) or {}, "response"), "body")
        usage = read_usage(answer)
        if usage is None:
            return
        model = _model(answer)
        known = self._found.get(model, Usage())
        self._found[model] = Usage(
            known.prompt_tokens + usage.prompt_tokens,
            known.completion_tokens + usage.completion_tokens,
            known.cached_tokens + usage.cached_tokens,
        )


def _model(answer: dict[str, Any]) -> str:
    return text_in(answer, "model") or SCORECARD
