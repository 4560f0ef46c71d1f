"""The simulation behind the goodput figures: its parts against slow twins, and the same seed twice."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from benchmarks.gateway.goodput.engine import Engine, EngineEvents, Hardware
from benchmarks.gateway.goodput.kv_blocks import KvBlocks
from benchmarks.gateway.goodput.policies import LeastInFlight, RoundRobin, Routed
from benchmarks.gateway.goodput.simulation import Simulation, World
from benchmarks.gateway.goodput.workload import Request, Session, Traffic, Turn, sessions
from hypothesis import given
from hypothesis import strategies as st

SHORT = World(warm_up_s=5.0, measured_s=15.0)


class Run:
    """One engine alone, on a clock of its own."""

    def __init__(self, hardware: Hardware):
        self.queue: list[tuple[float, Callable[[], None]]] = []
        events = EngineEvents(
            lambda time_s, act: self.queue.append((time_s, act)), self.first_token, self.finished
        )
        self.engine = Engine(hardware, 128, events)

    def first_token(self, request: Request, now_s: float) -> None:
        request.first_token_s = now_s

    def finished(self, request: Request, now_s: float) -> None:
        request.finished_s = now_s

    def to_end(self) -> None:
        while self.queue:
            self.queue.pop(0)[1]()


def request(number: int, adapter: int = 0, prompt_tokens: int = 1280, answer: int = 5) -> Request:
    session = Session(number, 0.0, adapter, prompt_tokens, (Turn(20, answer, 0.0),))
    return Request(number, session, 0, prompt_tokens, 0.0)


def test_one_request_takes_what_its_steps_take() -> None:
    hardware = Hardware(step_tokens=1024)
    run, asked = Run(hardware), request(1)
    run.engine.submit(asked, 0.0)
    run.to_end()
    reading_s = hardware.step_s(1024, 0) + hardware.step_s(256, 0) + hardware.adapter_load_s
    assert asked.first_token_s is not None
    assert asked.finished_s is not None
    assert abs(asked.first_token_s - reading_s) < 1e-9
    writing_s = sum(hardware.step_s(1, 1280 + 1 + written) for written in range(4))
    assert abs(asked.finished_s - reading_s - writing_s) < 1e-9
    assert run.engine.kv_use == 0


def test_the_next_one_finds_what_was_read_under_its_adapter() -> None:
    run = Run(Hardware())
    for number, adapter in enumerate([0, 0, 1]):
        run.engine.submit(request(number, adapter), 0.0)
        run.to_end()
    # The instructions, one block, are the adapter's; the rest is each session's own.
    assert run.engine.counts.prompt_tokens_read == 1280 + 1152 + 1280
    assert run.engine.counts.adapter_loads == 2


def test_an_adapter_without_a_slot_waits_and_is_passed() -> None:
    run = Run(Hardware(adapter_slots=1))
    first, other, same = request(0, 0, answer=50), request(1, 1), request(2, 0)
    for asked in (first, other, same):
        run.engine.submit(asked, 0.0)
    run.to_end()
    ends = [asked.first_token_s or 0.0 for asked in (first, same, other)]
    assert ends == sorted(ends)
    assert other.first_token_s is not None
    assert first.finished_s is not None
    assert other.first_token_s > first.finished_s


@given(
    st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=4, unique=True), max_size=30),
    st.integers(4, 8),
)
def test_blocks_are_never_more_than_there_are(chains: list[list[int]], capacity: int) -> None:
    blocks = KvBlocks(capacity)
    held: list[list[int]] = []
    for chain in chains:
        users = {block for each in held for block in each}
        fits = len(users | set(chain)) <= capacity
        assert blocks.take(chain) is fits
        if fits:
            blocks.fill(chain)
            held.append(chain)
            assert blocks.found(chain) == len(chain)
        elif held:
            blocks.release(held.pop(0))
        users = {block for each in held for block in each}
        assert blocks.num_used == len(users)
        assert blocks.num_used + len(blocks._kept) <= capacity
        assert blocks._readable == users | set(blocks._kept)


def test_traffic_is_what_was_asked_for() -> None:
    drawn = list(sessions(Traffic(), 20.0, 2_000.0, seed=1))
    assert 17 < sum(len(each.turns) for each in drawn) / 2_000.0 < 21
    top = sum(each.adapter == 0 for each in drawn) / len(drawn)
    assert 0.19 < top < 0.24  # 1 over the sum of 1/k up to 60: 0.214


def test_the_same_seed_gives_the_same_run() -> None:
    runs = []
    for _ in range(2):
        simulation = Simulation(SHORT, lambda clock: Routed(SHORT.names, SHORT.traffic, clock))
        assert simulation.run(10.0, seed=1)
        runs.append([(each.first_token_s, each.finished_s) for each in simulation.requests])
    assert runs[0] == runs[1]


def test_every_request_is_answered_once_under_every_policy() -> None:
    for policy_of in (
        lambda clock: RoundRobin(SHORT.names),
        lambda clock: LeastInFlight(SHORT.names),
        lambda clock: Routed(SHORT.names, SHORT.traffic, clock),
    ):
        simulation = Simulation(replace(SHORT, after_s=600.0), policy_of)
        assert simulation.run(10.0, seed=1)
        assert all(each.finished_s is not None for each in simulation.requests)
        assert all(engine.num_running == 0 for engine in simulation.engines.values())


def test_routing_reads_less_and_loads_fewer_adapters() -> None:
    def done(simulation: Simulation) -> tuple[int, int]:
        simulation.run(20.0, seed=1)
        counts = [engine.counts for engine in simulation.engines.values()]
        return sum(c.adapter_loads for c in counts), sum(c.prompt_tokens_read for c in counts)

    loads, read = done(Simulation(SHORT, lambda clock: RoundRobin(SHORT.names)))
    routed = Simulation(SHORT, lambda clock: Routed(SHORT.names, SHORT.traffic, clock))
    routed_loads, routed_read = done(routed)
    assert routed_loads < loads
    assert routed_read < read
