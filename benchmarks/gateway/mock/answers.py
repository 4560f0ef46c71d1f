"""The same answer to the same request, always."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from benchmarks.gateway.mock.knobs import Knobs

WORDS = tuple(
    f"{subject}{verb}"
    for subject in ("order", "refund", "parcel", "agent", "caller", "bill", "name", "number")
    for verb in ("", "s", "ed", "ing")
)
CREATED = 1_700_000_000
CHARACTERS_PER_TOKEN = 4
MESSAGE_TOKENS = 4
DIMENSIONS = 8


@dataclass(frozen=True, slots=True)
class Question:
    """A request as far as its answer depends on it."""

    path: str
    body: Mapping[str, Any]
    digest: int
    prompt_tokens: int
    completion_tokens: int

    @property
    def id(self) -> str:
        """The answer's id."""
        return f"mock-{self.digest:08x}"

    @property
    def model(self) -> str:
        """The model as it was named."""
        return str(self.body.get("model", ""))

    @property
    def is_stream(self) -> bool:
        """Whether it is to be answered in pieces."""
        return bool(self.body.get("stream")) and self.path in ("chat", "completions")

    @property
    def tokens(self) -> int:
        """What it uses, read and written."""
        return self.prompt_tokens + self.completion_tokens

    def usage(self) -> dict[str, int]:
        """Return OpenAI's usage object."""
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "total_tokens": self.tokens,
        }

    def words(self) -> Iterator[str]:
        """Yield the answer, a token a piece."""
        for index in range(self.completion_tokens):
            word = WORDS[(self.digest + index) % len(WORDS)]
            yield word if index == 0 else f" {word}"


def read_question(path: str, raw: bytes, knobs: Knobs) -> Question:
    """Read a request.

    Raises:
        ValueError: it is not a JSON object, or its messages are no messages.
    """
    body = orjson.loads(raw)
    if not isinstance(body, dict):
        raise ValueError("not an object")
    digest = zlib.crc32(raw, knobs.seed)
    writes = path in ("chat", "completions")
    return Question(
        path, body, digest, prompt_tokens(body), _length(body, digest, knobs) if writes else 0
    )


def prompt_tokens(body: Mapping[str, Any]) -> int:
    """Return the tokens of a prompt: four characters each, and a few for every message."""
    if "messages" in body:
        messages = body["messages"]
        if not isinstance(messages, list) or not all(isinstance(m, dict) for m in messages):
            raise ValueError("messages is not a list of objects")
        characters = sum(len(str(message.get("content") or "")) for message in messages)
        return MESSAGE_TOKENS * len(messages) + -(-characters // CHARACTERS_PER_TOKEN)
    for name in ("prompt", "input"):
        if name in body:
            return -(-_characters(body[name]) // CHARACTERS_PER_TOKEN)
    return -(-len(str(body.get("conversation", ""))) // CHARACTERS_PER_TOKEN)


def answer(question: Question) -> dict[str, Any]:
    """Return the whole answer."""
    return _ANSWERS[question.path](question)


def events(question: Question) -> list[bytes]:
    """Return the answer as server-sent events; the first has text, the last says [DONE]."""
    piece = _chat_piece if question.path == "chat" else _text_piece
    pieces = [_event(question, [piece(word, None)]) for word in question.words()]
    end = _event(question, [piece("", "stop")])
    if (question.body.get("stream_options") or {}).get("include_usage"):
        end += _event(question, [], usage=question.usage())
    return [*pieces, end + b"data: [DONE]\n\n"]


def _length(body: Mapping[str, Any], digest: int, knobs: Knobs) -> int:
    most = body.get("max_completion_tokens") or body.get("max_tokens") or knobs.most_tokens
    span = max(0, knobs.most_tokens - knobs.least_tokens) + 1
    return min(int(most), knobs.least_tokens + digest % span)


def _characters(value: object) -> int:
    return sum(map(_characters, value)) if isinstance(value, list) else len(str(value))


def _chat_piece(text: str, reason: str | None) -> dict[str, Any]:
    delta = {"role": "assistant", "content": text} if reason is None else {}
    return {"index": 0, "delta": delta, "finish_reason": reason}


def _text_piece(text: str, reason: str | None) -> dict[str, Any]:
    return {"index": 0, "text": text, "finish_reason": reason}


def _event(question: Question, choices: list[dict[str, Any]], **more: Any) -> bytes:
    kind = "chat.completion.chunk" if question.path == "chat" else "text_completion"
    return b"data: %b\n\n" % orjson.dumps({**_start(question, kind), "choices": choices, **more})


def _start(question: Question, kind: str) -> dict[str, Any]:
    return {"id": question.id, "object": kind, "created": CREATED, "model": question.model}


def _chat(question: Question) -> dict[str, Any]:
    message = {"role": "assistant", "content": "".join(question.words())}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    usage = question.usage()
    return {**_start(question, "chat.completion"), "choices": [choice], "usage": usage}


def _completion(question: Question) -> dict[str, Any]:
    choice = {"index": 0, "text": "".join(question.words()), "finish_reason": "stop"}
    usage = question.usage()
    return {**_start(question, "text_completion"), "choices": [choice], "usage": usage}


def _embeddings(question: Question) -> dict[str, Any]:
    asked = question.body.get("input", "")
    texts = asked if isinstance(asked, list) else [asked]
    data = [
        {"object": "embedding", "index": index, "embedding": _vector(text)}
        for index, text in enumerate(texts)
    ]
    return {
        "object": "list",
        "model": question.model,
        "data": data,
        "usage": {"prompt_tokens": question.prompt_tokens, "total_tokens": question.prompt_tokens},
    }


def _vector(text: object) -> list[float]:
    digest = zlib.crc32(orjson.dumps(text))
    return [((digest >> 4 * index) % 16 - 7.5) / 7.5 for index in range(DIMENSIONS)]


def _scorecard(question: Question) -> dict[str, Any]:
    names = question.body.get("indicators") or ["mock"]
    answers = [
        {"indicator": name, "label": "yes", "probabilities": {"yes": 0.75, "no": 0.25}}
        for name in names
    ]
    usage = {"tokens_read": question.prompt_tokens, "tokens_shared": 0, "time_s": 0.0}
    return {"transcript_id": question.id, "answers": answers, "usage": usage}


_ANSWERS: Mapping[str, Callable[[Question], dict[str, Any]]] = {
    "chat": _chat,
    "completions": _completion,
    "embeddings": _embeddings,
    "scores": _scorecard,
}
