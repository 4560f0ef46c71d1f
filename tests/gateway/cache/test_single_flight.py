from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from itertools import permutations, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from descant.gateway.cache import Flight, Seat, SingleFlight
from descant.schema.errors import ClientGone, ServerStopping, TooBusy

KEY = b"key"
CHUNKS = [b"a", b"b", b"c"]


class Upstream:
    """Gives the next chunk when it is told to, and remembers what became of it."""

    def __init__(self) -> None:
        self.num_asked = 0
        self.num_cancelled = 0
        self.num_done = 0
        self.deadlines_s: list[float] = []
        self._steps: asyncio.Queue[Exception | None] = asyncio.Queue()

    def step(self, error: Exception | None = None) -> None:
        self._steps.put_nowait(error)

    async def work(self, flight: Flight[int]) -> None:
        self.num_asked += 1
        try:
            await self._next(flight)
            flight.begin(200)
            for chunk in CHUNKS:
                await self._next(flight)
                await flight.write(chunk)
        except asyncio.CancelledError:
            self.num_cancelled += 1
            raise
        self.num_done += 1

    async def _next(self, flight: Flight[int]) -> None:
        error = await self._steps.get()
        self.deadlines_s.append(flight.deadline_s)
        if error is not None:
            raise error


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def read(seat: Seat[int]) -> list[bytes]:
    try:
        assert await seat.head() == 200
        return [chunk async for chunk in seat]
    finally:
        seat.leave()


def test_requests_that_are_the_same_ask_upstream_once_and_late_ones_get_the_first_byte() -> None:
    async def main() -> None:
        flights, upstream = SingleFlight[int](1000), Upstream()
        readers = []
        for _ in range(4):
            readers.append(asyncio.create_task(read(flights.join(KEY, upstream.work, 1.0))))
            upstream.step()
            await settle()
        assert [await reader for reader in readers] == [CHUNKS] * 4
        assert (upstream.num_asked, upstream.num_done) == (1, 1)
        assert (flights.num_begun, flights.num_joined) == (1, 3)

    asyncio.run(main())


def test_different_keys_do_not_wait_for_each_other() -> None:
    async def main() -> None:
        flights, one, other = SingleFlight[int](1000), Upstream(), Upstream()
        first = flights.join(b"1", one.work, 1.0)
        second = flights.join(b"2", other.work, 1.0)
        assert first.is_first
        assert second.is_first
        for _ in range(4):
            other.step()
        assert await read(second) == CHUNKS
        first.leave()

    asyncio.run(main())


def test_nothing_is_remembered_once_it_is_over() -> None:
    async def main() -> None:
        flights, upstream = SingleFlight[int](1000), Upstream()
        for _ in range(2):
            seat = flights.join(KEY, upstream.work, 1.0)
            for _ in range(4):
                upstream.step()
            assert await read(seat) == CHUNKS
            await settle()
        assert upstream.num_asked == 2

    asyncio.run(main())


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_cancelled_in_every_order_at_every_stage(order: tuple[int, ...]) -> None:
    async def main() -> None:
        for stages in product(range(5), repeat=3):
            await leave_in_order(order, stages)

    asyncio.run(main())


async def leave_in_order(order: tuple[int, ...], stages: tuple[int, ...]) -> None:
    """Caller `order[i]` leaves after `stages[i]` steps of upstream; 4 is to stay to the end."""
    flights, upstream = SingleFlight[int](1000), Upstream()
    readers = [asyncio.create_task(read(flights.join(KEY, upstream.work, 1.0))) for _ in order]
    for stage in range(5):
        await settle()
        for who, at in zip(order, stages, strict=True):
            if at == stage < 4:
                readers[who].cancel()
        await settle()
        upstream.step()
    results = await asyncio.gather(*readers, return_exceptions=True)
    for who, at in zip(order, stages, strict=True):
        if at < 4:
            assert isinstance(results[who], asyncio.CancelledError)
        else:
            assert results[who] == CHUNKS
    is_wanted = max(stages) == 4
    assert (upstream.num_asked, upstream.num_done) == (1, int(is_wanted))
    assert upstream.num_cancelled == int(not is_wanted)


def test_who_leaves_before_the_flight_has_begun_asks_nothing() -> None:
    async def main() -> None:
        flights, upstream = SingleFlight[int](1000), Upstream()
        flights.join(KEY, upstream.work, 1.0).leave()
        again = flights.join(KEY, upstream.work, 1.0)
        assert again.is_first
        for _ in range(4):
            upstream.step()
        assert await read(again) == CHUNKS
        assert upstream.num_asked == 1

    asyncio.run(main())


def test_after_the_last_has_left_a_new_caller_does_not_get_a_dying_flight() -> None:
    async def main() -> None:
        flights, upstream = SingleFlight[int](1000), Upstream()
        seat = flights.join(KEY, upstream.work, 1.0)
        await settle()
        seat.leave()
        again = flights.join(KEY, upstream.work, 1.0)
        await settle()
        for _ in range(4):
            upstream.step()
        assert await read(again) == CHUNKS
        assert (upstream.num_asked, upstream.num_cancelled) == (2, 1)

    asyncio.run(main())


@pytest.mark.parametrize("num_steps", range(4))
def test_a_failure_reaches_all_who_wait_and_is_not_remembered(num_steps: int) -> None:
    async def main() -> None:
        flights, upstream = SingleFlight[int](1000), Upstream()
        seats = [flights.join(KEY, upstream.work, 1.0) for _ in range(3)]
        for _ in range(num_steps):
            upstream.step()
        upstream.step(TooBusy("full"))
        results = await asyncio.gather(*map(read, seats), return_exceptions=True)
        assert [type(result) for result in results] == [TooBusy] * 3
        await settle()
        assert flights.join(KEY, upstream.work, 1.0).is_first

    asyncio.run(main())


def test_work_that_ends_without_a_head_is_an_error_for_who_waits() -> None:
    async def nothing(flight: Flight[int]) -> None:
        del flight

    async def main() -> None:
        seat = SingleFlight[int](1000).join(KEY, nothing, 1.0)
        with pytest.raises(RuntimeError):
            await seat.head()

    asyncio.run(main())


def test_it_flies_on_until_the_most_patient_gives_up() -> None:
    async def main() -> None:
        flights, upstream = SingleFlight[int](1000), Upstream()
        first = flights.join(KEY, upstream.work, 5.0)
        upstream.step()
        await settle()
        patient = flights.join(KEY, upstream.work, 9.0)
        upstream.step()
        await settle()
        first.leave()
        upstream.step()
        await settle()
        patient.leave()
        assert upstream.deadlines_s == [5.0, 9.0, 9.0]

    asyncio.run(main())


def test_close_tells_who_waits_that_the_server_stops() -> None:
    async def main() -> None:
        flights, upstream = SingleFlight[int](1000), Upstream()
        reader = asyncio.create_task(read(flights.join(KEY, upstream.work, 1.0)))
        await settle()
        await flights.close()
        with pytest.raises(ServerStopping):
            await reader

    asyncio.run(main())


def writer(num_chunks: int, written: list[int]) -> Callable[[Flight[int]], Awaitable[None]]:
    async def work(flight: Flight[int]) -> None:
        flight.begin(200)
        for number in range(num_chunks):
            await flight.write(b"%04d" % number)
            written.append(number)
            assert flight._held_bytes <= 40

    return work


def test_upstream_waits_for_a_slow_reader_that_is_alone() -> None:
    async def main() -> None:
        written: list[int] = []
        seat = SingleFlight[int](40).join(KEY, writer(100, written), 1.0)
        await settle()
        assert len(written) == 10
        assert await read(seat) == [b"%04d" % number for number in range(100)]

    asyncio.run(main())


def test_a_slow_reader_is_cut_off_where_it_keeps_others_waiting() -> None:
    async def main() -> None:
        written: list[int] = []
        flights = SingleFlight[int](40)
        slow, quick = (flights.join(KEY, writer(100, written), 1.0) for _ in range(2))
        slow_chunks = aiter(slow)
        assert await anext(slow_chunks) == b"0000"
        assert len(await read(quick)) == 100
        with pytest.raises(ClientGone):
            await anext(slow_chunks)

    asyncio.run(main())


def test_nobody_joins_what_is_no_longer_there_from_the_first_byte() -> None:
    async def main() -> None:
        written: list[int] = []
        flights = SingleFlight[int](40)
        seat = flights.join(KEY, writer(100, written), 1.0)
        chunks = aiter(seat)
        for _ in range(5):
            await anext(chunks)
        await settle()
        late = flights.join(KEY, writer(3, []), 1.0)
        assert late.is_first
        assert await read(late) == [b"0000", b"0001", b"0002"]
        seat.leave()
        # The end of the older flight must not end the younger one's entry.
        assert len(await read(flights.join(KEY, writer(3, []), 1.0))) == 3

    asyncio.run(main())


def test_a_chunk_larger_than_the_bound_still_passes() -> None:
    async def work(flight: Flight[int]) -> None:
        flight.begin(200)
        await flight.write(b"x" * 100)
        await flight.write(b"y" * 100)

    async def main() -> None:
        assert len(await read(SingleFlight[int](40).join(KEY, work, 1.0))) == 2

    asyncio.run(main())


MOVES = st.lists(
    st.tuples(st.sampled_from(["join", "read", "read", "leave", "pause"]), st.integers(0, 3)),
    max_size=60,
)


@given(MOVES)
def test_however_fast_they_read_each_gets_everything_in_order_or_is_told(
    moves: list[tuple[str, int]],
) -> None:
    async def main() -> None:
        flights, whole = SingleFlight[int](40), [b"%04d" % number for number in range(25)]
        seats: list[Seat[int]] = []
        readers: list[AsyncIterator[bytes]] = []
        got: list[list[bytes]] = []
        for what, which in [*moves, ("join", 0)]:
            if what == "join":
                seats.append(flights.join(KEY, writer(25, []), 1.0))
                readers.append(aiter(seats[-1]))
                got.append([])
            elif what == "pause":
                await settle()
            elif which < len(seats):
                await (take if what == "read" else leave)(seats[which], readers[which], got[which])
        results = await asyncio.gather(
            *[finish(*one) for one in zip(seats, readers, got, strict=True)]
        )
        for chunks, is_whole in zip(got, results, strict=True):
            assert chunks == (whole if is_whole else whole[: len(chunks)])
        assert any(results)
        await settle()
        assert not flights._open
        assert not flights._tasks

    asyncio.run(main())


async def take(seat: Seat[int], chunks: AsyncIterator[bytes], got: list[bytes]) -> None:
    del seat
    with suppress(StopAsyncIteration, ClientGone):
        got.append(await anext(chunks))


async def leave(seat: Seat[int], chunks: AsyncIterator[bytes], got: list[bytes]) -> None:
    del got
    await chunks.aclose()  # type: ignore[attr-defined]  # it is an asynchronous generator
    seat.leave()


async def finish(seat: Seat[int], chunks: AsyncIterator[bytes], got: list[bytes]) -> bool:
    """Return whether it got everything; who was cut off or has left did not."""
    try:
        async for chunk in chunks:
            got.append(chunk)
    except ClientGone:
        return False
    finally:
        seat.leave()
    return len(got) == 25


def test_what_is_done_after_the_end_delays_nobody_and_is_not_cancelled() -> None:
    async def main() -> None:
        kept = asyncio.Event()
        done = []

        async def work(flight: Flight[int]) -> None:
            flight.begin(200)
            await flight.write(b"a")
            flight.finish()
            await kept.wait()
            done.append(True)

        flights = SingleFlight[int](1000)
        assert await read(flights.join(KEY, work, 1.0)) == [b"a"]
        late = flights.join(KEY, work, 1.0)
        assert not late.is_first
        assert await read(late) == [b"a"]
        kept.set()
        await settle()
        assert done == [True]
        again = flights.join(KEY, work, 1.0)
        assert again.is_first
        again.leave()

    asyncio.run(main())


def test_an_error_after_the_end_is_logged_and_spoils_no_answer(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def work(flight: Flight[int]) -> None:
        flight.begin(200)
        flight.finish()
        raise OSError("no room")

    async def main() -> None:
        assert await read(SingleFlight[int](1000).join(KEY, work, 1.0)) == []
        await settle()

    asyncio.run(main())
    assert "no room" in caplog.text
