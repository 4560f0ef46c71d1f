"""Conversations and chats as token ids, the same for training and for serving.

A conversation is one user message that holds its turns as lines; everything up to the end of that
message is the prefix that all adapters share. Behind it stands the invocation, the tokens with which
the model's template opens an answer, and behind that the label. Contents are encoded apart from the
template, so nothing written in them can end a message or invoke an adapter.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from descant.schema import Indicator, Message, Transcript, Turn
from descant.schema.errors import InputError, InvalidModel, InvalidTranscript
from descant.text.chat_template import PLAIN_TEMPLATE, ChatTemplate, ContentSlot, Part, Rendered
from descant.text.tokenizer import Tokenizer

_SYSTEM = "Call transcript."
# Some templates write today's date; a prefix that adapters were trained on must not change overnight.
_DATE_OF_TRANSCRIPTS = datetime(2025, 1, 1, tzinfo=UTC)


def _now() -> datetime:
    return datetime.now(tz=UTC)


class Renderer:
    """Renders for one tokenizer, by its chat template or, if it has none, by `PLAIN_TEMPLATE`.

    Raises:
        InvalidModel: the chat template cannot be used.
    """

    def __init__(self, tokenizer: Tokenizer, clock: Callable[[], datetime] = _now):
        self._tokenizer = tokenizer
        self._clock = clock
        source = tokenizer.chat_template or PLAIN_TEMPLATE
        self._template = ChatTemplate(source, tokenizer.named_tokens)
        self._roles = self._choose_roles()
        self._prefix, self._opening = self._divide()
        self.invocation: tuple[int, ...] = tuple(
            tokenizer.encode_template(self._opening, follows=True)
        )
        """The tokens behind which an answer stands; adapters act from the first of them."""

    def render_transcript(self, transcript: Transcript) -> list[int]:
        """Return the ids that all adapters share, up to the end of the user message.

        Raises:
            InvalidTranscript: there is nothing but space and control characters in it.
        """
        lines = [_line(turn) for turn in transcript.turns if _plain(turn.text)]
        if not lines:
            raise InvalidTranscript(
                f"Conversation {transcript.id!r} has no readable text.", field="turns"
            )
        contents = {"system": _SYSTEM, "user": "\n".join(lines)}
        return self._encode(self._prefix, [contents[role] for role in self._roles])

    def render_tail(self, indicator: Indicator) -> list[int]:
        """Return the ids that follow the prefix for one indicator; the task is in its adapter."""
        return list(self.invocation)

    def render_label(self, label: str) -> list[int]:
        """Return the ids of a label behind a tail, with nothing after it."""
        return self._tokenizer.encode(label, follows=True)

    def render_answer(self, text: str) -> list[int]:
        """Return the ids of a text behind a tail, with the token that ends an answer."""
        return [*self.render_label(text), *sorted(self._tokenizer.eos_ids)[:1]]

    def render_labels(self, labels: Sequence[str]) -> list[list[int]]:
        """Return, for every label of a set, the ids that tell it from the others.

        What follows once a label is decided carries no answer, so each is cut behind the first token
        it shares with no other: most sets become one token a label. A label that begins another is
        followed by the token that ends an answer.
        """
        whole = [self.render_answer(label) for label in labels]
        return [
            ids[: 1 + max(_num_shared(ids, other) for other in whole if other is not ids)]
            for ids in whole
        ]

    def render_chat(
        self, messages: Sequence[Message], add_generation_prompt: bool = True
    ) -> list[int]:
        """Return the ids of a chat; with `add_generation_prompt` the model's answer comes next.

        Raises:
            InputError: there are no messages, or the template refuses their roles or order.
        """
        if not messages:
            raise InputError(
                "There are no messages.", field="messages", remedy="Send at least one."
            )
        roles = [message.role for message in messages]
        rendered = self._template.render(roles, self._clock, add_generation_prompt)
        contents = [message.content for message in messages]
        if not rendered.ending.endswith(self._opening):
            return self._encode([*rendered.body, rendered.ending], contents)
        # The same cut as between prefix and tail, so that a chat shares blocks with a scorecard.
        before = rendered.ending.removesuffix(self._opening)
        return self._encode([*rendered.body, before], contents) + list(self.invocation)

    def _choose_roles(self) -> list[str]:
        """Return a short system message and the user's where the template has room for both."""
        try:
            self._render_roles(["system", "user"], add_generation_prompt=True)
        except InputError:
            return ["user"]
        return ["system", "user"]

    def _divide(self) -> tuple[list[Part], str]:
        """Return what stands before the opening of an answer, and that opening.

        Templates without a generation prompt open an answer with what ends the user message.
        """
        plain = self._render_roles(self._roles, add_generation_prompt=False)
        prompted = self._render_roles(self._roles, add_generation_prompt=True)
        if plain == prompted and plain.ending:
            return [*plain.body], plain.ending
        opening = prompted.ending.removeprefix(plain.ending)
        if plain.body != prompted.body or plain.ending + opening != prompted.ending or not opening:
            raise InvalidModel(
                "The model's chat template does not open the answer behind the user message.",
                field="chat_template",
                remedy="Put a chat_template.jinja with a generation prompt beside the tokenizer.",
            )
        return [*plain.body, plain.ending], opening

    def _render_roles(self, roles: Sequence[str], add_generation_prompt: bool) -> Rendered:
        return self._template.render(roles, lambda: _DATE_OF_TRANSCRIPTS, add_generation_prompt)

    def _encode(self, parts: Sequence[Part], contents: Sequence[str]) -> list[int]:
        pieces: list[int | str] = []
        for part in parts:
            if isinstance(part, ContentSlot):
                pieces.append(part.fill(contents[part.message]))
            else:
                pieces += self._tokenizer.split_template(part)
        return self._tokenizer.encode_parts(pieces)


def _num_shared(ids: Sequence[int], other: Sequence[int]) -> int:
    pairs = zip(ids, other, strict=False)
    return next((at for at, (a, b) in enumerate(pairs) if a != b), min(len(ids), len(other)))


def _line(turn: Turn) -> str:
    """Return a turn as one line, so that no text can pass for another speaker's turn."""
    return f"{_plain(turn.speaker) or 'unknown'}: {_plain(turn.text)}"


def _plain(text: str) -> str:
    printable = "".join(c if unicodedata.category(c) != "Cc" else " " for c in text)
    return " ".join(printable.split())
