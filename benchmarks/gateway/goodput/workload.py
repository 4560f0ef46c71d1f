"""Who asks what, and when: sessions of several turns, each under one adapter.

Sessions begin as a Poisson process, whatever becomes of those before them (open loop). Within one, a
person reads the answer and thinks before the next question, which repeats everything said so far.

Assumptions, all in `Traffic`: 60 adapters of which the k-th is asked in proportion to 1/k (Zipf, 1.0);
each has instructions and examples of 1,024 tokens that begin all its prompts; a session brings a
transcript of its own (log-normal, median 1,500 tokens, about ten minutes of a call); 5 questions in
the mean (geometric, at most 20) of 20 to 100 tokens, answers of 150 tokens in the mean
(exponential, 10 to 600), 15 s of thought in the mean (exponential). A token is four bytes.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from random import Random

TOKEN_BYTES = 4


@dataclass(frozen=True)
class Traffic:
    """What is drawn from."""

    adapters: int = 60
    zipf: float = 1.0
    system_tokens: int = 1024
    transcript_median_tokens: int = 1500
    transcript_sigma: float = 0.6
    mean_turns: float = 5.0
    max_turns: int = 20
    mean_answer_tokens: float = 150.0
    mean_thought_s: float = 15.0


@dataclass(frozen=True)
class Turn:
    """One question and the answer it will get."""

    question_tokens: int
    answer_tokens: int
    thought_s: float
    """Between the last answer and this question."""


@dataclass(frozen=True)
class Session:
    """One person with one transcript."""

    number: int
    begins_s: float
    adapter: int
    transcript_tokens: int
    turns: tuple[Turn, ...]


@dataclass(slots=True)
class Request:
    """One turn on its way, and what became of it."""

    number: int
    session: Session
    turn: int
    prompt_tokens: int
    arrived_s: float
    first_token_s: float | None = None
    finished_s: float | None = None

    @property
    def answer_tokens(self) -> int:
        """Return how long its answer is."""
        return self.session.turns[self.turn].answer_tokens


def sessions(
    traffic: Traffic, requests_per_s: float, until_s: float, seed: int
) -> Iterator[Session]:
    """Yield the sessions that begin before `until_s`; they make so many requests a second."""
    random = Random(seed)
    shares = list(accumulate((rank + 1) ** -traffic.zipf for rank in range(traffic.adapters)))
    now_s, number = 0.0, 0
    while True:
        now_s += random.expovariate(requests_per_s / traffic.mean_turns)
        if now_s >= until_s:
            return
        adapter = bisect(shares, random.random() * shares[-1])
        yield _session(random, traffic, number, now_s, adapter)
        number += 1


def prompt_tokens(traffic: Traffic, session: Session, turn: int) -> int:
    """Return the length of a turn's prompt: all that was said before, and the question."""
    said = sum(each.question_tokens + each.answer_tokens for each in session.turns[:turn])
    question = session.turns[turn].question_tokens
    return traffic.system_tokens + session.transcript_tokens + said + question


def _session(
    random: Random, traffic: Traffic, number: int, begins_s: float, adapter: int
) -> Session:
    transcript = traffic.transcript_median_tokens * random.lognormvariate(
        0.0, traffic.transcript_sigma
    )
    turns = [_turn(random, traffic)]
    while len(turns) < traffic.max_turns and random.random() > 1 / traffic.mean_turns:
        turns.append(_turn(random, traffic))
    return Session(number, begins_s, adapter, min(8000, max(256, int(transcript))), tuple(turns))


def _turn(random: Random, traffic: Traffic) -> Turn:
    answer = random.expovariate(1 / traffic.mean_answer_tokens)
    return Turn(
        question_tokens=random.randint(20, 100),
        answer_tokens=min(600, max(10, int(answer))),
        thought_s=random.expovariate(1 / traffic.mean_thought_s),
    )
