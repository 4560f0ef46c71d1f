"""The fields that chat and completions have in common, as OpenAI and vLLM name them.

A field that is not here is refused by name: nobody should believe in a setting that does nothing.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from descant.engine import SamplingParams
from descant.server.body import Body, Text


class StreamOptions(Body):
    """What a stream says besides text."""

    include_usage: bool = False


class JsonSchema(Body):
    """The schema an answer has to follow."""

    schema_: dict[str, Any] = Field(alias="schema")
    name: Text = ""
    description: Text | None = None
    strict: bool | None = Field(None, description="Answers always follow the schema.")


class ResponseFormat(Body):
    """The form of an answer."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None


class StructuredOutputs(Body):
    """vLLM's further forms of an answer; exactly one is given."""

    json_: dict[str, Any] | None = Field(None, alias="json")
    regex: Text | None = None
    choice: list[Text] | None = None


class GenerationFields(Body):
    """How text is generated."""

    model: Text = Field(description="The base model, an adapter, or adapter@sha256:version.")
    temperature: float = Field(1.0, ge=0, allow_inf_nan=False)
    top_p: float = Field(1.0, gt=0, le=1)
    top_k: int | None = Field(None, ge=-1, description="-1 and 0: all tokens.")
    min_p: float = Field(0.0, ge=0, le=1)
    presence_penalty: float = Field(0.0, ge=-2, le=2)
    frequency_penalty: float = Field(0.0, ge=-2, le=2)
    repetition_penalty: float = Field(1.0, gt=0, allow_inf_nan=False)
    logit_bias: dict[str, float] | None = None
    seed: int | None = None
    n: int = Field(1, ge=1, le=64)
    stop: Text | list[Text] | None = None
    min_tokens: int = Field(0, ge=0)
    ignore_eos: bool = False
    stream: bool = False
    stream_options: StreamOptions | None = None
    response_format: ResponseFormat | None = None
    structured_outputs: StructuredOutputs | None = None
    priority: int = Field(0, ge=-100, le=100, description="Lower is sooner.")
    cache_salt: Text = Field("", description="Cached prompts are shared only under one salt.")
    blend: dict[Text, float] | None = Field(
        None, max_length=8, description="Adapters and their weights, instead of one by model."
    )

    @property
    def stop_strings(self) -> list[str]:
        """The texts that end an answer."""
        strings = [self.stop] if isinstance(self.stop, str) else list(self.stop or ())
        return [text for text in strings if text]

    @property
    def includes_usage(self) -> bool:
        """Whether a stream ends with what it took."""
        return self.stream_options is not None and self.stream_options.include_usage

    def sampling(
        self, max_tokens: int, num_logprobs: int | None, eos_ids: frozenset[int], choice: int
    ) -> SamplingParams:
        """Return how the tokens of one of the `n` choices are chosen."""
        return SamplingParams(
            max_tokens=max_tokens,
            temperature=self.temperature,
            top_k=self.top_k if self.top_k is not None and self.top_k > 0 else None,
            top_p=self.top_p,
            min_p=self.min_p,
            presence_penalty=self.presence_penalty,
            frequency_penalty=self.frequency_penalty,
            repetition_penalty=self.repetition_penalty,
            logit_bias={int(key): bias for key, bias in (self.logit_bias or {}).items()},
            seed=None if self.seed is None else self.seed + choice,
            stop_token_ids=frozenset() if self.ignore_eos else eos_ids,
            min_tokens=min(self.min_tokens, max_tokens),
            num_logprobs=num_logprobs,
        )
