"""A teacher behind ``/chat/completions``: one question a request, answered in words.

Answers are held to the labels where the server takes that; where it does not, the prompt alone asks for
them, and the answer is read just as strictly.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from descant.distillation.answer_text import read_label
from descant.distillation.label_shares import read_probabilities
from descant.distillation.prompt import build_messages, choice_form, free_form, schema_form
from descant.distillation.teacher import Ask, Nonsense, Opinion, count
from descant.schema import Indicator, Transcript
from descant.schema.errors import InvalidConfig


@dataclass(frozen=True)
class _Manner:
    """How a server wants to be told of labels and of the limit of tokens."""

    form: Callable[[tuple[str, ...]], dict[str, Any]]
    form_field: str | None
    limit_field: str

    def made(self, body: Mapping[str, Any]) -> bool:
        """Return whether a body is of this manner."""
        form_field = next((name for name in _FORM_FIELDS if name in body), None)
        return self.limit_field in body and self.form_field == form_field


_FORM_FIELDS = ("response_format", "structured_outputs")
_MANNERS = tuple(
    _Manner(form, form_field, limit_field)
    for form, form_field in (
        (schema_form, "response_format"),
        (choice_form, "structured_outputs"),
        (free_form, None),
    )
    # The second is what newer models of OpenAI ask for; others know only the first.
    for limit_field in ("max_tokens", "max_completion_tokens")
)
_TOP_LOGPROBS = 20
# A token is at least a byte of what was sent; a template may add a few words of its own.
_TEMPLATE_TOKENS = 256
_QUOTED_CHARACTERS = 80


@dataclass(frozen=True)
class ChatConfig:
    """What is asked of a chat model.

    Raises:
        InvalidConfig: names the field that is out of range.
    """

    model: str
    votes: int = 1
    """How often the same is asked, each time with another seed."""
    soft: bool = False
    """Ask for log-probabilities, so that every label has a probability."""
    temperature: float = 0.0
    max_answer_tokens: int = 64
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.model:
            raise InvalidConfig("The teacher's model has no name.", field="model")
        for name in ("votes", "max_answer_tokens"):
            if getattr(self, name) < 1:
                raise InvalidConfig(f"{name} must be at least 1.", field=name)
        if not 0 <= self.temperature <= 2:
            raise InvalidConfig("temperature must be from 0 to 2.", field="temperature")
        if self.votes > 1 and self.soft:
            raise InvalidConfig(
                "Soft labels come from one answer, not from votes.",
                field="votes",
                remedy="Ask for one or the other.",
            )
        if self.votes > 1 and self.temperature == 0:
            raise InvalidConfig(
                "At temperature 0 all votes are the same.",
                field="temperature",
                remedy="Ask at a temperature above 0, such as 1.",
            )


Prompt = Callable[[Transcript, Indicator], list[dict[str, str]]]


class ChatTeacher:
    """Asks a chat model one question about one conversation at a time."""

    path = "/chat/completions"

    def __init__(self, config: ChatConfig, prompt: Prompt = build_messages):
        """`prompt` makes the chat of a conversation and an indicator."""
        self._config = config
        self._prompt = prompt
        self._manners = _MANNERS

    def asks(self, transcript: Transcript, indicators: Sequence[Indicator]) -> list[Ask]:
        """Return a request for each indicator and vote."""
        return [
            Ask(transcript, (indicator,), vote)
            for indicator in indicators
            for vote in range(self._config.votes)
        ]

    def content(self, ask: Ask) -> Mapping[str, Any]:
        """Return model, prompt, labels and parameters; not how the server takes these."""
        [indicator] = ask.indicators
        return {
            **self._plain_body(ask),
            "max_tokens": self._config.max_answer_tokens,
            "labels": list(indicator.labels),
        }

    def bodies(self, ask: Ask) -> list[dict[str, Any]]:
        """Return the request in the manner that was taken, or in each, the strictest first."""
        [indicator] = ask.indicators
        plain, limit = self._plain_body(ask), self._config.max_answer_tokens
        return [
            {**plain, manner.limit_field: limit, **manner.form(indicator.labels)}
            for manner in self._manners_for(indicator)
        ]

    def took(self, ask: Ask, body: Mapping[str, Any]) -> None:
        """Stay with the manner of this body; of a text, which has no labels, with its limit."""
        [indicator] = ask.indicators
        if indicator.is_text:
            self._manners = tuple(each for each in self._manners if each.limit_field in body)
        else:
            self._manners = tuple(manner for manner in _MANNERS if manner.made(body))

    def most_tokens(self, ask: Ask, num_bytes: int) -> tuple[int, int]:
        """Return as many tokens as bytes, with some for the template, and the longest answer."""
        return num_bytes + _TEMPLATE_TOKENS, self._config.max_answer_tokens

    def opinions(self, ask: Ask, document: Any) -> dict[str, Opinion]:
        """Read the answer; one that is no label is an opinion without a label.

        Raises:
            Nonsense: the reply has no answer in it.
        """
        [indicator] = ask.indicators
        text, logprobs, reason = _answer(document)
        return {indicator.name: self._opinion(indicator, text, logprobs, reason)}

    def used_tokens(self, document: Any) -> tuple[int, int] | None:
        """Return what the reply's usage says."""
        usage = document.get("usage") if isinstance(document, dict) else None
        if not isinstance(usage, dict):
            return None
        read, written = count(usage.get("prompt_tokens")), count(usage.get("completion_tokens"))
        return None if read is None or written is None else (read, written)

    def output(self, document: Any) -> str | None:
        """Return the text of the answer."""
        try:
            return _answer(document)[0]
        except Nonsense:
            return None

    def _manners_for(self, indicator: Indicator) -> tuple[_Manner, ...]:
        if not indicator.is_text:
            return self._manners
        limits = {manner.limit_field for manner in self._manners}
        return tuple(m for m in _MANNERS if m.form_field is None and m.limit_field in limits)

    def _plain_body(self, ask: Ask) -> dict[str, Any]:
        [indicator] = ask.indicators
        config = self._config
        body: dict[str, Any] = {
            "model": config.model,
            "messages": self._prompt(ask.transcript, indicator),
            "temperature": config.temperature,
        }
        if config.votes > 1:
            body["seed"] = config.seed + ask.vote
        if config.soft:
            body |= {"logprobs": True, "top_logprobs": _TOP_LOGPROBS}
        return body

    def _opinion(
        self, indicator: Indicator, text: str, logprobs: Any, reason: str | None
    ) -> Opinion:
        if indicator.is_text:
            return _text_opinion(text, reason)
        label = read_label(text, indicator.labels)
        if label is None:
            cut = ", cut off at its limit of tokens" if reason == "length" else ""
            shown = repr(text[:_QUOTED_CHARACTERS])
            return Opinion(None, unanswered=f"The answer {shown} is not one of the labels{cut}.")
        if not self._config.soft:
            return Opinion(label)
        try:
            content = logprobs.get("content") if isinstance(logprobs, dict) else None
            shares = read_probabilities(content, indicator.labels)
        except Nonsense as error:
            return Opinion(None, unanswered=f"The answer has no soft label: {error}.")
        return Opinion(max(shares, key=shares.__getitem__), shares)


def _text_opinion(text: str, reason: str | None) -> Opinion:
    words = " ".join(text.split())
    if reason == "length":
        return Opinion(None, unanswered="It did not end within its limit of tokens.")
    return Opinion(words) if words else Opinion(None, unanswered="The answer is empty.")


def _answer(document: Any) -> tuple[str, Any, str | None]:
    """Return text, log-probabilities and the reason of its end."""
    try:
        choice = document["choices"][0]
        text, logprobs = choice["message"]["content"], choice.get("logprobs")
    except (AttributeError, IndexError, KeyError, TypeError) as error:
        raise Nonsense("it is no chat completion") from error
    if not isinstance(text, str):
        raise Nonsense("its message has no text")
    return text, logprobs, choice.get("finish_reason")
