"""One question to a teacher, from the money set aside for it to the answer on disk.

What can pass is tried again: no reply, an error of the server, a reply that is none. What the teacher
refuses is not. Every try is paid for on its own: a reply that never came may have been written.
"""

from __future__ import annotations

import json
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from descant.distillation.answer_store import AnswerStore, Received, key_of
from descant.distillation.budget import Budget, Cost
from descant.distillation.cooldown import Cooldown, retry_after_s
from descant.distillation.endpoint import Endpoint, NoReply, NotReached, Reply
from descant.distillation.teacher import Ask, Nonsense, Opinion, Refused, Teacher
from descant.schema.errors import InvalidConfig, TeacherRefused


@dataclass(frozen=True)
class Patience:
    """How often and how long a teacher is tried.

    Raises:
        InvalidConfig: names the field that is out of range.
    """

    tries: int = 4
    first_pause_s: float = 0.5
    """Before the second try; each further pause is twice as long, up to the longest, less chance."""
    longest_pause_s: float = 30.0

    def __post_init__(self) -> None:
        if self.tries < 1:
            raise InvalidConfig("tries must be at least 1.", field="tries")

    def pause_s(self, num_faults: int, source: random.Random) -> float:
        """Return how long to wait after so many faults in a row."""
        doubled = self.first_pause_s * 2.0 ** min(num_faults - 1, 30)
        return min(self.longest_pause_s, doubled) * source.uniform(0.5, 1.0)


# The server itself says no. Behind the others may be a gateway that gave up on one still at work.
_UNPAID = (*range(300, 408), *range(409, 500), 500, 501, 503)


class Unanswered(Exception):
    """A question that got no answer this time; its text says why. The next run asks it again."""


class _Fault(Exception):
    """A try that failed and may not fail again."""


class _Later(Exception):
    """The teacher takes no requests for now."""


class _NotTaken(Exception):
    """The teacher refuses this body."""


class Asker:
    """Asks one teacher; several questions may be under way at once, in one event loop."""

    def __init__(  # noqa: PLR0913 - each is shared with others
        self,
        teacher: Teacher,
        endpoint: Endpoint,
        store: AnswerStore,
        budget: Budget,
        cooldown: Cooldown,
        patience: Patience,
        sleep: Callable[[float], Awaitable[None]],
        source: random.Random,
    ):
        """`source` is the chance in pauses between tries."""
        self._teacher = teacher
        self._endpoint = endpoint
        self._store = store
        self._budget = budget
        self._cooldown = cooldown
        self._patience = patience
        self._sleep = sleep
        self._source = source

    async def ask(self, ask: Ask) -> Mapping[str, Opinion]:
        """Return what the teacher says, once it is in the store.

        Raises:
            Unanswered: it was refused, or no try brought a reply.
            BudgetSpent: there is no room for the next try.
            TeacherUnavailable: the teacher takes no requests for longer than it is waited for.
            TeacherRefused: the teacher does not know the key, the model or the indicators.
            StorageFull: the disk is full.
        """
        key, faults = key_of(self._teacher.content(ask)), 0
        while True:
            try:
                return await self._ask_in_some_manner(key, ask)
            except _Later:
                continue
            except (NoReply, Nonsense, _Fault) as fault:
                faults += 1
                if faults == self._patience.tries:
                    return self._give_up(key, ask, fault)
            await self._sleep(self._patience.pause_s(faults, self._source))

    def _give_up(self, key: str, ask: Ask, fault: Exception) -> Mapping[str, Opinion]:
        if not isinstance(fault, Nonsense):
            raise Unanswered(str(fault)) from fault
        # It did answer, each time and not with a label: asking once more would be no better.
        opinion = Opinion(None, unanswered=f"The reply is no answer: {fault}.")
        opinions = {indicator.name: opinion for indicator in ask.indicators}
        self._store.close(key, Cost(), opinions)
        return opinions

    async def _ask_in_some_manner(self, key: str, ask: Ask) -> Mapping[str, Opinion]:
        refusal: Exception | None = None
        for body in self._teacher.bodies(ask):
            try:
                opinions = await self._try(key, ask, body)
            except _NotTaken as error:
                refusal = error
                continue
            except Refused as error:
                raise Unanswered(str(error)) from error
            return opinions
        raise Unanswered(str(refusal)) from refusal

    async def _try(self, key: str, ask: Ask, body: Mapping[str, Any]) -> Mapping[str, Opinion]:
        data = json.dumps(body, ensure_ascii=False).encode()
        most = self._budget.prices.cost(*self._teacher.most_tokens(ask, len(data)))
        await self._budget.reserve(most)
        used, opinions, received = Cost(), None, None
        try:
            await self._cooldown.wait()
            self._store.open(key, most)
            # From here on it may cost something, even where no reply or no good one comes.
            used = most
            reply = await self._endpoint.post(self._teacher.path, data)
            received = self._received(reply)
            used = self._used(reply, most)
            self._check_status(reply)
            opinions = self._teacher.opinions(ask, reply.document)
            self._teacher.took(ask, body)
            return opinions
        except NotReached:
            used = Cost()
            raise
        finally:
            self._store.close(key, self._budget.settle(most, used), opinions, received)

    def _received(self, reply: Reply) -> Received:
        output = self._teacher.output(reply.document) if reply.status == 200 else reply.message
        return Received(reply.status, reply.latency_s, output)

    def _used(self, reply: Reply, most: Cost) -> Cost:
        """Return what a reply took: what it says, nothing if it was refused, else all it can have."""
        if reply.status == 200 and (tokens := self._teacher.used_tokens(reply.document)):
            return self._budget.prices.cost(*tokens)
        return Cost() if reply.status in _UNPAID else most

    def _check_status(self, reply: Reply) -> None:
        status, said = reply.status, f"status {reply.status}: {reply.message}"
        wait_s = retry_after_s(reply.headers)
        if status == 429 or (status == 503 and wait_s is not None):
            self._cooldown.extend(wait_s, said)
            raise _Later(said)
        self._cooldown.end()
        if status == 408 or status >= 500:
            raise _Fault(said)
        if status in (400, 413, 422):
            raise _NotTaken(said)
        if status != 200:
            raise TeacherRefused(
                f"The teacher refuses with {said}",
                field="teacher",
                remedy="Check its address, the model's name and the key in the environment.",
            )
