"""The engine's thread: nobody gets another's answer, nobody waits for ever, nothing stays behind."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Coroutine
from contextlib import aclosing, asynccontextmanager
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from descant.engine import (
    EmbedRequest,
    EmbedResult,
    Engine,
    EngineConfig,
    EngineStats,
    GenerateRequest,
    GenerateResult,
    Request,
    Result,
    SamplingParams,
    ScoreRequest,
    ScoreResult,
    Tail,
    TokenEvent,
)
from descant.schema.errors import (
    ContextTooLong,
    DescantError,
    EngineFailed,
    InputError,
    ServerStopping,
    TooBusy,
)
from descant.server.engine_thread import EngineThread
from tests.server.served import WAIT_S, failing_step, held_steps
from tests.tiny import INVOCATION, tiny_adapter, tiny_model

MODEL = tiny_model()
ADAPTERS = (None, *(tiny_adapter(MODEL.config, seed) for seed in range(3)))


def new_engine() -> Engine:
    return Engine(MODEL, "base", EngineConfig(kv_cache_bytes=1 << 16, block_tokens=4))


def generation(first: int, tokens: int, adapter: int = 0) -> GenerateRequest:
    prompt = (*range(first, first + 9), *INVOCATION)
    return GenerateRequest(prompt, SamplingParams(max_tokens=tokens), ADAPTERS[adapter])


def scoring(first: int, adapters: tuple[int, ...]) -> ScoreRequest:
    tails = tuple(Tail(INVOCATION, ((10,), (11, 12)), ADAPTERS[adapter]) for adapter in adapters)
    return ScoreRequest(tuple(range(first, first + 14)), tails)


LONG = generation(20, 200)
REQUESTS = st.one_of(
    st.builds(generation, st.integers(8, 40), st.integers(1, 9), st.integers(0, 3)),
    st.builds(scoring, st.integers(8, 40), st.tuples(st.integers(0, 3), st.integers(0, 3))),
    st.builds(lambda first: EmbedRequest((first, first + 1, 7)), st.integers(8, 40)),
)


@asynccontextmanager
async def running(
    engine: Engine, max_requests: int = 100, **more: Any
) -> AsyncIterator[EngineThread]:
    thread = EngineThread(engine, max_requests, **more)
    try:
        yield thread
    finally:
        await asyncio.to_thread(thread.close)


async def ask(thread: EngineThread, request: Request) -> Result:
    if isinstance(request, ScoreRequest):
        return await thread.score(request)
    if isinstance(request, EmbedRequest):
        return await thread.embed(request)
    *tokens, result = [word async for word in thread.generate(request)]
    assert isinstance(result, GenerateResult)
    told = [word.token_id for word in tokens if isinstance(word, TokenEvent)]
    assert told == list(result.token_ids)
    return result


async def leave_after(thread: EngineThread, request: GenerateRequest, num_tokens: int) -> None:
    async with aclosing(thread.generate(request)) as words:
        for _ in range(num_tokens):
            await anext(words)


def run(work: Coroutine[Any, Any, None]) -> None:
    async def in_time() -> None:
        async with asyncio.timeout(WAIT_S):
            await work

    asyncio.run(in_time())


def assert_same(one: object, other: object) -> None:
    assert type(one) is type(other)
    if isinstance(one, GenerateResult) and isinstance(other, GenerateResult):
        assert one.token_ids == other.token_ids
    if isinstance(one, EmbedResult) and isinstance(other, EmbedResult):
        torch.testing.assert_close(one.vector, other.vector, atol=1e-4, rtol=0)
    if isinstance(one, ScoreResult) and isinstance(other, ScoreResult):
        for ours, theirs in zip(one.log_probabilities, other.log_probabilities, strict=True):
            torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=0)


def assert_idle(engine: Engine) -> None:
    stats = engine.stats()
    assert engine.is_idle
    assert (stats.num_running, stats.num_waiting) == (0, 0)
    assert (stats.kv_blocks_held, stats.adapters_used) == (0, 0)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(REQUESTS, st.integers(0, 5)), min_size=1, max_size=8))
def test_everybody_gets_what_they_would_have_got_alone(
    asked: list[tuple[Request, int]],
) -> None:
    """Some leave after a few tokens; that changes nothing for the others."""
    engine = new_engine()

    async def exchange() -> None:
        async with running(engine) as thread:
            stayed, left = [], []
            for request, num_tokens in asked:
                stayed.append(ask(thread, request))
                if isinstance(request, GenerateRequest):
                    left.append(
                        leave_after(thread, request, min(num_tokens, request.sampling.max_tokens))
                    )
            answers = await asyncio.gather(*stayed, *left)
            assert thread.num_open == 0
        for (request, _), answer in zip(asked, answers, strict=False):
            assert_same(answer, new_engine().run([request])[0])

    run(exchange())
    assert_idle(engine)


@pytest.mark.parametrize("num_tokens", [0, 1, 3])
def test_who_leaves_in_the_middle_leaves_nothing_behind(num_tokens: int) -> None:
    engine, seen = new_engine(), list[EngineStats]()

    async def exchange() -> None:
        async with running(engine, on_stats=seen.append) as thread:
            await leave_after(thread, LONG, num_tokens)
            assert thread.num_open == 0
            # Behind the leaving in the queue, so that it has been carried out.
            await thread.embed(EmbedRequest((7, 8)))

    run(exchange())
    assert_idle(engine)
    assert seen[-1] == engine.stats()
    assert engine.stats().tokens_computed < len(LONG.prompt_ids) + LONG.sampling.max_tokens


def test_figures_show_that_the_last_one_has_left() -> None:
    engine = new_engine()

    async def exchange() -> None:
        loop, idle = asyncio.get_running_loop(), asyncio.Event()
        num_running: list[int] = []

        def take(stats: EngineStats) -> None:
            num_running.append(stats.num_running)
            if not stats.num_running and 1 in num_running:
                loop.call_soon_threadsafe(idle.set)

        async with running(engine, on_stats=take) as thread:
            assert num_running == [0]
            await leave_after(thread, LONG, 1)
            await idle.wait()

    run(exchange())


def test_a_task_that_is_cancelled_takes_its_request_along() -> None:
    engine = new_engine()

    async def exchange() -> None:
        async with running(engine) as thread:
            with held_steps(engine) as hold:
                task = asyncio.create_task(thread.score(scoring(20, (1, 2))))
                await hold.arrival()
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
                assert thread.num_open == 0
            await thread.embed(EmbedRequest((7, 8)))

    run(exchange())
    assert_idle(engine)


def test_a_failing_step_fails_those_who_wait_and_nobody_else(
    caplog: pytest.LogCaptureFixture,
) -> None:
    engine = new_engine()
    waiting: list[Request] = [generation(20, 5), scoring(30, (0, 1)), generation(20, 5, adapter=2)]

    async def exchange() -> None:
        async with running(engine) as thread:
            with held_steps(engine) as hold:
                tasks = [asyncio.create_task(ask(thread, request)) for request in waiting]
                await hold.arrival()
                # The step that is held goes through; all are there at the next one.
                with failing_step(engine, "detail"):
                    hold.opened.set()
                    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
            assert [type(outcome) for outcome in outcomes] == [EngineFailed] * 3
            assert "detail" not in str(outcomes[0])
            for request in waiting:
                assert_same(await ask(thread, request), new_engine().run([request])[0])

    run(exchange())
    assert "detail" in caplog.text
    assert_idle(engine)


def test_what_the_engine_refuses_is_the_callers_own_error() -> None:
    engine = new_engine()

    async def exchange() -> None:
        async with running(engine) as thread:
            too_long = GenerateRequest(tuple(range(60)) * 20, SamplingParams())
            outcomes = await asyncio.gather(
                ask(thread, too_long),
                thread.embed(EmbedRequest(())),
                ask(thread, generation(20, 3)),
                return_exceptions=True,
            )
            assert isinstance(outcomes[0], ContextTooLong)
            assert isinstance(outcomes[1], InputError)
            assert isinstance(outcomes[2], GenerateResult)
            assert thread.num_open == 0

    run(exchange())
    assert_idle(engine)


def test_a_request_that_breaks_the_engines_door_fails_alone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def exchange() -> None:
        async with running(new_engine()) as thread:
            with pytest.raises(EngineFailed):
                await thread.score("not a request")  # type: ignore[arg-type]
            await thread.embed(EmbedRequest((7, 8)))

    run(exchange())
    assert "AttributeError" in caplog.text


def test_more_than_it_takes_is_refused_until_there_is_room() -> None:
    engine = new_engine()

    async def exchange() -> None:
        async with running(engine, max_requests=2) as thread:
            with held_steps(engine) as hold:
                first = asyncio.create_task(ask(thread, generation(20, 4)))
                await hold.arrival()
                second = asyncio.create_task(ask(thread, generation(30, 4)))
                await asyncio.sleep(0)
                assert thread.num_open == 2
                with pytest.raises(TooBusy):
                    await ask(thread, generation(20, 1))
                second.cancel()
                await asyncio.wait({second})
                third = asyncio.create_task(ask(thread, generation(20, 4)))
                await asyncio.sleep(0)
            assert_same(await first, await third)
            assert thread.num_open == 0

    run(exchange())


def test_closing_fails_who_waits_and_who_comes_later() -> None:
    engine = new_engine()
    before = threading.active_count()

    async def exchange() -> None:
        thread = EngineThread(engine, 10)
        assert threading.active_count() == before + 1
        with held_steps(engine) as hold:
            waiting = [asyncio.create_task(ask(thread, LONG)) for _ in range(2)]
            await hold.arrival()
            closing = asyncio.create_task(asyncio.to_thread(thread.close))
            await asyncio.sleep(0)
            hold.opened.set()
            await closing
        for outcome in await asyncio.gather(*waiting, return_exceptions=True):
            assert isinstance(outcome, ServerStopping)
            assert outcome.http_status == 503
        with pytest.raises(ServerStopping, match="stopping"):
            await thread.embed(EmbedRequest((7, 8)))
        assert thread.num_open == 0
        thread.close()

    run(exchange())
    assert "descant-engine" not in [thread.name for thread in threading.enumerate()]
    assert_idle(engine)


def test_nobody_waits_for_a_thread_that_has_ended_by_mistake(
    caplog: pytest.LogCaptureFixture,
) -> None:
    seen: list[EngineStats] = []

    def take(stats: EngineStats) -> None:
        seen.append(stats)
        if len(seen) > 1:
            raise RuntimeError("detail")

    async def exchange() -> None:
        async with running(new_engine(), on_stats=take) as thread:
            assert thread.is_running
            asked = [ask(thread, generation(first, 5)) for first in (20, 30)]
            for outcome in await asyncio.gather(*asked, return_exceptions=True):
                assert isinstance(outcome, EngineFailed | ServerStopping)
            assert not thread.is_running
            with pytest.raises(ServerStopping):
                await thread.embed(EmbedRequest((7, 8)))
            assert thread.num_open == 0

    run(exchange())
    assert "detail" in caplog.text


def test_the_event_loop_is_free_while_the_engine_computes() -> None:
    engine = new_engine()

    async def exchange() -> None:
        async with running(engine) as thread:
            with held_steps(engine) as hold:
                score = asyncio.create_task(thread.score(scoring(20, (1, 2))))
                await hold.arrival()
                ticks = 0
                while ticks < 10:
                    await asyncio.sleep(0)
                    ticks += 1
                assert not score.done()
            assert isinstance(await score, ScoreResult)

    run(exchange())


def test_callers_from_several_event_loops_are_served() -> None:
    engine = new_engine()
    thread = EngineThread(engine, 10)
    answers: list[Result | DescantError] = []

    def call(first: int) -> None:
        answers.append(asyncio.run(ask(thread, generation(first, 5))))

    callers = [threading.Thread(target=call, args=(first,)) for first in (20, 30)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(WAIT_S)
    thread.close()
    expected = new_engine().generate([generation(20, 5), generation(30, 5)])
    assert {a.token_ids for a in answers if isinstance(a, GenerateResult)} == {
        result.token_ids for result in expected
    }
