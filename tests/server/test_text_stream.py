"""Text as it comes: whole characters, cut at stop strings, however it falls into tokens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from descant.engine import (
    FinishReason,
    GenerateRequest,
    GenerateResult,
    Result,
    SamplingParams,
    TokenEvent,
)
from descant.llm import LLM
from descant.schema.errors import DescantError, EngineFailed
from descant.server.engine_thread import EngineThread
from descant.server.text_stream import TextPiece, TextStream, TokenText
from descant.text import Tokenizer
from tests.text.small import byte_level_description

WHOLE = ("ab", "ba", "aab", "abab", "bbb", "hello")
BYTES_OF_E = ("Ã", "©")
"""The two bytes of é, as a byte-level vocabulary writes them."""


def tokenizer_with_long_tokens() -> Tokenizer:
    description = byte_level_description()
    vocabulary = description["model"]["vocab"]
    vocabulary |= {text: len(vocabulary) + at for at, text in enumerate(WHOLE)}
    return Tokenizer(description, {"eos_token": "<|im_end|>"})


TOKENIZER = tokenizer_with_long_tokens()
TOKENS = ("a", "b", *WHOLE, *BYTES_OF_E, "<|im_start|>")


def ids_of(tokens: Sequence[str]) -> list[int]:
    ids = [TOKENIZER.token_id(token) for token in tokens]
    known = [token_id for token_id in ids if token_id is not None]
    assert len(known) == len(ids)
    return known


IDS = st.lists(st.sampled_from(TOKENS), max_size=12).map(ids_of)
STOPS = st.lists(
    st.text("ab", min_size=1, max_size=5) | st.text("abé\ufffdhel", min_size=1, max_size=5),
    max_size=3,
)


class Words:
    """What the engine says of one generation, and whether it is still listened to."""

    def __init__(
        self,
        ids: Sequence[int],
        reason: FinishReason = FinishReason.LENGTH,
        logprob: float | None = None,
        error: DescantError | None = None,
        num_cached: int = 7,
    ):
        self.ids = tuple(ids)
        self.reason = reason
        self.logprob = logprob
        self.error = error
        self.num_cached = num_cached
        self.num_sent = 0
        self.is_closed = False

    async def __call__(self) -> AsyncGenerator[TokenEvent | Result, None]:
        try:
            for token_id in self.ids:
                self.num_sent += 1
                alternatives = ((token_id, -0.5), (0, -3.0))
                if self.logprob is None:
                    yield TokenEvent(0, token_id, None, (), self.num_cached)
                else:
                    yield TokenEvent(0, token_id, self.logprob, alternatives, self.num_cached)
            if self.error is not None:
                raise self.error
            yield GenerateResult(self.ids, self.reason, len(self.ids) + 3, self.num_cached)
        finally:
            self.is_closed = True


def pieces_of(stream: TextStream) -> list[TextPiece]:
    async def collect() -> list[TextPiece]:
        return [piece async for piece in stream.pieces()]

    return asyncio.run(collect())


def follow(words: Words, *stop: str) -> list[TextPiece]:
    pieces = pieces_of(TextStream(words(), TOKENIZER, stop))
    assert words.is_closed
    return pieces


def text_of(pieces: Sequence[TextPiece]) -> str:
    return "".join(piece.text for piece in pieces)


def cut(text: str, stops: Sequence[str]) -> tuple[str, bool]:
    """The slow twin: look at every beginning of the text, shortest first."""
    for end in range(len(text) + 1):
        done = [stop for stop in stops if text[:end].endswith(stop)]
        if done:
            return text[: end - max(map(len, done))], True
    return text, False


def without_beginning(text: str, stops: Sequence[str]) -> str:
    """What can be given out of a text that goes on: not what may begin a stop string."""
    beginnings = {stop[:length] for stop in stops for length in range(1, len(stop))}
    longest = max((len(b) for b in beginnings if text.endswith(b)), default=0)
    return text[: len(text) - longest]


@given(IDS, STOPS)
def test_pieces_make_up_the_text_before_the_first_stop_string(
    ids: list[int], stops: list[str]
) -> None:
    pieces = follow(Words(ids), *stops)
    expected, is_stopped = cut(TOKENIZER.decode(ids), stops)
    assert text_of(pieces) == expected
    reasons = [piece.finish_reason for piece in pieces]
    assert reasons == [None] * (len(pieces) - 1) + ["stop" if is_stopped else "length"]


@given(st.lists(st.sampled_from(["a", "b", *WHOLE]), max_size=8).map(ids_of), STOPS)
def test_nothing_is_held_back_longer_than_it_must_be(ids: list[int], stops: list[str]) -> None:
    words = Words(ids)

    async def collect() -> list[str]:
        given_out = [""] * (len(ids) + 1)
        async for piece in TextStream(words(), TOKENIZER, stops).pieces():
            # The last piece may bring what was held back to the end.
            if piece.finish_reason is None:
                given_out[words.num_sent] += piece.text
        return given_out

    given_out = asyncio.run(collect())
    for count in range(len(ids)):
        text = TOKENIZER.decode(ids[:count])
        if not cut(text, stops)[1]:
            assert "".join(given_out[: count + 1]) == without_beginning(text, stops)


@pytest.mark.parametrize(
    ("tokens", "stops", "text", "reason"),
    [
        (["hello"], [], "hello", "length"),
        (["a", "b", "a"], ["ba"], "a", "stop"),
        (["abab"], ["bab", "ab"], "", "stop"),
        (["abab"], ["abab", "ba"], "a", "stop"),
        (["a", "b", "a", "b"], ["abab", "ba"], "a", "stop"),
        (["a", "b", "ab"], ["bab", "abab"], "", "stop"),
        (["a", "aab"], ["aaab", "ab"], "", "stop"),
        (["a", "b"], ["bb"], "ab", "length"),
        (["hello", *BYTES_OF_E], ["é"], "hello", "stop"),
        (["hello", BYTES_OF_E[0]], [], "hello\ufffd", "length"),
        (["hello", BYTES_OF_E[0]], ["\ufffd"], "hello", "stop"),
        ([], ["a"], "", "length"),
    ],
)
def test_where_a_text_ends_and_why(
    tokens: list[str], stops: list[str], text: str, reason: str
) -> None:
    pieces = follow(Words(ids_of(tokens)), *stops)
    assert (text_of(pieces), pieces[-1].finish_reason) == (text, reason)


def test_an_end_token_is_a_stop_and_what_was_held_back_comes_with_it() -> None:
    pieces = follow(Words(ids_of(["a", "b"]), FinishReason.STOP), "bb")
    assert pieces == [TextPiece("a"), TextPiece("b", (), "stop")]


def test_behind_a_stop_string_nobody_listens() -> None:
    words = Words(ids_of(["a", "b", "hello", "hello"]))
    stream = TextStream(words(), TOKENIZER, ["b"])
    assert text_of(pieces_of(stream)) == "a"
    assert words.is_closed
    assert (words.num_sent, stream.usage.output_tokens) == (2, 2)


def test_leaving_early_closes_the_words() -> None:
    words = Words(ids_of(["a", "b", "hello"]))

    async def leave() -> None:
        async with aclosing(TextStream(words(), TOKENIZER).pieces()) as pieces:
            await anext(pieces)
            assert not words.is_closed
        assert words.is_closed

    asyncio.run(leave())
    assert words.num_sent == 1


def test_an_error_comes_behind_the_text_before_it() -> None:
    words = Words(ids_of(["a"]), error=EngineFailed("It failed."))
    got: list[str] = []

    async def collect() -> None:
        async for piece in TextStream(words(), TOKENIZER).pieces():
            got.append(piece.text)

    with pytest.raises(EngineFailed):
        asyncio.run(collect())
    assert got == ["a"]
    assert words.is_closed


def test_tokens_are_told_only_when_asked_for() -> None:
    ids = ids_of(["hello", *BYTES_OF_E])
    assert not any(piece.tokens for piece in follow(Words(ids), "ll"))
    pieces = follow(Words(ids, logprob=-0.5))
    told = [token for piece in pieces for token in piece.tokens]
    assert [token.text for token in told] == ["hello", "\ufffd", "\ufffd"]
    # A token comes when it is chosen, the character with its last token.
    assert [piece.text for piece in pieces] == ["hello", "", "é", ""]
    assert told[0] == TokenText("hello", -0.5, (("hello", -0.5), (TOKENIZER.decode([0]), -3.0)))


def test_usage_counts_tokens_and_what_was_cached() -> None:
    stream = TextStream(Words(ids_of(["a", "<|im_start|>", "b"]))(), TOKENIZER)
    assert (stream.usage.output_tokens, stream.usage.cached_tokens) == (0, 0)
    pieces_of(stream)
    assert (stream.usage.output_tokens, stream.usage.cached_tokens) == (3, 7)


def test_behind_a_stop_string_it_is_known_what_was_cached() -> None:
    stream = TextStream(Words(ids_of(["a", "b", "hello"]))(), TOKENIZER, ["b"])
    pieces_of(stream)
    assert stream.usage.cached_tokens == 7


def told_tokens(ids: Sequence[int], text: str) -> list[str]:
    """The slow twin: the tokens that a text which may be cut is made of."""
    whole = TOKENIZER.decode(list(ids))
    if text == whole:
        return [TOKENIZER.decode([token_id]) for token_id in ids]
    starts = [len(without_half(TOKENIZER.decode(list(ids[:at])))) for at in range(len(ids))]
    pairs = zip(ids, starts, strict=True)
    return [TOKENIZER.decode([token_id]) for token_id, start in pairs if start < len(text)]


def without_half(text: str) -> str:
    return text.removesuffix("\ufffd")


@given(st.lists(st.sampled_from(["a", "b", *WHOLE]), max_size=10).map(ids_of), STOPS)
def test_what_is_cut_off_has_no_logprobs(ids: list[int], stops: list[str]) -> None:
    pieces = follow(Words(ids, logprob=-0.5), *stops)
    told = [token.text for piece in pieces for token in piece.tokens]
    assert told == told_tokens(ids, text_of(pieces))


def test_a_character_of_two_tokens_that_is_cut_off_takes_both_along() -> None:
    pieces = follow(Words(ids_of(["hello", *BYTES_OF_E]), logprob=-0.5), "é")
    assert [token.text for piece in pieces for token in piece.tokens] == ["hello"]


def test_a_stop_string_ends_the_generation_in_the_engine(llm: LLM) -> None:
    prompt = tuple(llm.tokenizer.encode("hello there"))
    request = GenerateRequest(prompt, SamplingParams(max_tokens=40))
    [whole] = llm.engine.generate([request])
    text = llm.tokenizer.decode(list(whole.token_ids))
    stop = text[5:8]
    before = llm.engine.stats().tokens_computed

    async def collect() -> TextStream:
        thread = EngineThread(llm.engine, 10)
        stream = TextStream(thread.generate(request), llm.tokenizer, [stop])
        pieces = [piece async for piece in stream.pieces()]
        assert text_of(pieces) == cut(text, [stop])[0]
        assert pieces[-1].finish_reason == "stop"
        await asyncio.to_thread(thread.close)
        return stream

    stream = asyncio.run(collect())
    assert stream.usage.output_tokens < 40
    assert llm.engine.stats().tokens_computed > before
    assert llm.engine.is_idle
    assert llm.engine.stats().kv_blocks_held == 0
