"""From a request's fields to its texts: what chat and completions do alike.

Everything that takes a while and is not the engine's (reading an adapter, compiling a grammar) runs on
other threads; the event loop only passes on what comes.
"""

from __future__ import annotations

import asyncio
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Iterable,
    Sequence,
)
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, TypeVar

from starlette.requests import Request

from descant.engine import GenerateRequest
from descant.model import LoraAdapter
from descant.monitoring.metrics import BASE
from descant.schema import DescantError
from descant.schema.errors import ClientGone, ContextTooLong, InputError
from descant.server.generation_fields import GenerationFields
from descant.server.keys import Caller
from descant.server.prompts import check_token_ids
from descant.server.service import Service
from descant.server.text_stream import TextPiece, TextStream, TokenText
from descant.text import Grammar

T = TypeVar("T")


@dataclass(frozen=True)
class Prompt:
    """What is continued, and under which adapter."""

    token_ids: tuple[int, ...]
    adapter: LoraAdapter | None
    model: str
    """As the caller named it."""
    caller: Caller


@dataclass(frozen=True)
class TokenUsage:
    """What a request took."""

    prompt_tokens: int
    output_tokens: int
    cached_tokens: int

    @classmethod
    def of(cls, asked: Iterable[tuple[Prompt, Sequence[TextStream]]]) -> TokenUsage:
        """Sum up prompts and their texts; what the texts of one prompt found in the cache is one."""
        pairs = list(asked)
        return cls(
            sum(len(prompt.token_ids) for prompt, _ in pairs),
            sum(text.usage.output_tokens for _, texts in pairs for text in texts),
            sum(max(text.usage.cached_tokens for text in texts) for _, texts in pairs),
        )

    def to_json(self) -> dict[str, Any]:
        """Return it as OpenAI's API states it."""
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.output_tokens,
            "total_tokens": self.prompt_tokens + self.output_tokens,
            "prompt_tokens_details": {"cached_tokens": self.cached_tokens},
        }

    def for_log(self) -> dict[str, int]:
        """Return it as the request log and the limits per minute take it."""
        read = self.prompt_tokens + self.output_tokens - self.cached_tokens
        return {"tokens_read": read, "tokens_shared": self.cached_tokens}


@dataclass(frozen=True)
class Choice:
    """One finished text."""

    text: str
    finish_reason: str
    tokens: tuple[TokenText, ...]


def choose_adapter(
    service: Service, fields: GenerationFields, caller: Caller
) -> LoraAdapter | None:
    """Return the adapter that a request names; None is the base model. Reads files.

    Raises:
        AdapterNotFound: there is no model or adapter of that name.
        InvalidAdapter: it cannot be used.
    """
    llm = service.llm
    caller.check_model(fields.model)
    for name in fields.blend or ():
        caller.check_model(name)
    if fields.blend is not None:
        if fields.model != llm.model_name:
            raise InputError(
                "A blend goes with the base model.", field="blend", remedy="Name the base as model."
            )
        return llm.library.blend(fields.blend)
    if fields.model == llm.model_name:
        return None
    return llm.library.load(fields.model)


def choose_grammar(service: Service, fields: GenerationFields) -> Grammar | None:
    """Return what an answer has to follow; compiles it.

    Raises:
        InputError: the schema or pattern cannot be used, or two forms are asked for.
    """
    compiler = service.grammars
    forms = fields.structured_outputs
    asked: list[Callable[[], Grammar]] = []
    if fields.response_format is not None and fields.response_format.type != "text":
        asked.append(lambda: _response_format(service, fields))
    if forms is not None and forms.json_ is not None:
        schema = forms.json_
        asked.append(lambda: compiler.json_schema(schema, field="structured_outputs.json"))
    if forms is not None and forms.regex is not None:
        pattern = forms.regex
        asked.append(lambda: compiler.regex(pattern, field="structured_outputs.regex"))
    if forms is not None and forms.choice is not None:
        choices = forms.choice
        asked.append(lambda: compiler.choice(choices, field="structured_outputs.choice"))
    if len(asked) > 1:
        raise InputError("An answer can follow one form only.", field="structured_outputs")
    return asked[0]() if asked else None


def _response_format(service: Service, fields: GenerationFields) -> Grammar:
    form = fields.response_format
    assert form is not None
    if form.type == "json_object":
        return service.grammars.json_object()
    if form.json_schema is None:
        raise InputError("json_schema is missing.", field="response_format.json_schema")
    return service.grammars.json_schema(
        form.json_schema.schema_, field="response_format.json_schema.schema"
    )


def start_texts(
    service: Service,
    fields: GenerationFields,
    prompt: Prompt,
    max_tokens: int | None,
    num_logprobs: int | None,
    grammar: Grammar | None,
) -> list[TextStream]:
    """Return the `n` texts of a request; they run as soon as they are iterated over.

    Raises:
        ContextTooLong: nothing fits behind the prompt.
    """
    room = service.llm.engine.max_sequence_tokens - len(prompt.token_ids)
    if room < 1:
        raise ContextTooLong(
            f"The prompt has {len(prompt.token_ids)} tokens and nothing fits behind it.",
            field="messages",
            remedy="Send less text, or use a model with a longer context.",
        )
    streams = []
    for index in range(fields.n):
        sampling = fields.sampling(
            room if max_tokens is None else max_tokens,
            num_logprobs,
            service.llm.tokenizer.eos_ids,
            index,
        )
        check_token_ids(service.llm, sampling.logit_bias, "logit_bias")
        request = GenerateRequest(
            prompt.token_ids,
            sampling,
            prompt.adapter,
            prompt.caller.salt(fields.cache_salt),
            prompt.caller.priority(fields.priority),
            constraint=None if grammar is None else grammar.start(),
        )
        words = service.engine.generate(request)
        streams.append(TextStream(words, service.llm.tokenizer, fields.stop_strings))
    return streams


async def finish_texts(
    service: Service, prompt: Prompt, streams: Sequence[TextStream]
) -> list[Choice]:
    """Return the whole texts; if one fails, the others are cancelled.

    Raises:
        DescantError: why a text was not generated.
    """
    return await together(_whole(service, prompt, stream) for stream in streams)


async def together(works: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Return what each returns; when one fails, or the caller is cancelled, the others are."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        return await asyncio.gather(*tasks)
    finally:
        await _end(tasks)


async def merge_texts(
    service: Service, prompt: Prompt, streams: Sequence[TextStream]
) -> AsyncIterator[tuple[int, TextPiece]]:
    """Yield the pieces of several texts as they come, each with its text's number.

    Raises:
        DescantError: why a text was not generated; the others are cancelled.
    """
    pieces: asyncio.Queue[tuple[int, TextPiece | BaseException | None]] = asyncio.Queue()

    async def follow(index: int, stream: TextStream) -> None:
        try:
            async with aclosing(_observed(service, prompt, stream)) as observed:
                async for piece in observed:
                    pieces.put_nowait((index, piece))
        except Exception as error:
            pieces.put_nowait((index, error))
        else:
            pieces.put_nowait((index, None))

    tasks = [asyncio.create_task(follow(index, stream)) for index, stream in enumerate(streams)]
    try:
        num_open = len(tasks)
        while num_open:
            index, piece = await pieces.get()
            if isinstance(piece, BaseException):
                raise piece
            if piece is None:
                num_open -= 1
            else:
                yield index, piece
    finally:
        await _end(tasks)


async def unless_gone(request: Request, work: Awaitable[T]) -> T:
    """Return what `work` returns; stop it when the caller hangs up.

    Raises:
        ClientGone: the caller hung up.
    """
    task = asyncio.ensure_future(work)
    gone = asyncio.create_task(_hang_up(request))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientGone("The caller hung up.")
        return task.result()
    finally:
        await _end([task, gone])


async def _end(tasks: Sequence[asyncio.Future[Any]]) -> None:
    """Cancel what has not ended, and wait until it has."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _hang_up(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _whole(service: Service, prompt: Prompt, stream: TextStream) -> Choice:
    pieces = [piece async for piece in _observed(service, prompt, stream)]
    return Choice(
        "".join(piece.text for piece in pieces),
        pieces[-1].finish_reason or "stop",
        tuple(token for piece in pieces for token in piece.tokens),
    )


async def _observed(
    service: Service, prompt: Prompt, stream: TextStream
) -> AsyncGenerator[TextPiece, None]:
    """Yield a text's pieces and keep the books."""
    metrics, adapter = service.metrics, BASE if prompt.adapter is None else prompt.model
    started = last = service.clock()
    num_counted = 0
    try:
        async for piece in stream.pieces():
            now = service.clock()
            # A piece may bring several tokens, or none: text is held back, and the end is a piece.
            for number in range(num_counted, stream.usage.output_tokens):
                observe = metrics.observe_next_token if number else metrics.observe_first_token
                observe(adapter, now - last)
                last = now
            num_counted = stream.usage.output_tokens
            if piece.finish_reason is not None:
                metrics.observe_generation(adapter, piece.finish_reason, now - started)
            yield piece
    except DescantError:
        metrics.count_error(adapter)
        raise
