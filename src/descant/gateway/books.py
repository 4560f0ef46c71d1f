"""One request from its arrival to its line in the ledger: what is set aside for it, and what it took."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from descant.gateway.call import Call, Usage
from descant.gateway.ledger import Kind, Ledger, Outcome, UsageRecord
from descant.gateway.limits import Amounts, Claim, Limits, Refusal, Reservation
from descant.gateway.reply import Tally
from descant.gateway.upstream import Upstream
from descant.schema.errors import LimitReached

_CLIENT_GONE = 499


@dataclass(slots=True)
class Entry:
    """What is known of one request so far."""

    call: Call
    tally: Tally = field(default_factory=Tally)
    reservation: Reservation | None = None
    outcome: Outcome = "failed"
    status: int = 500
    admitted_s: float | None = None
    """When the limits had let it pass."""
    limit_headers: Mapping[str, str] = field(default_factory=dict)


class Books:
    """Keeps limits, ledger and prices together; of one worker."""

    def __init__(
        self,
        limits: Limits,
        ledger: Ledger | None,
        clock: Callable[[], float],
        wall_clock: Callable[[], float],
    ):
        self._limits = limits
        self._ledger = ledger
        self._clock = clock
        self._wall_clock = wall_clock

    async def admit(self, entry: Entry, claims: tuple[Claim, ...], most: Amounts) -> None:
        """Set aside what a request may take.

        Raises:
            LimitReached: one of its limits has no room.
        """
        if claims:
            held = await self._limits.reserve(claims, most)
            entry.limit_headers = held.headers()
            if isinstance(held, Refusal):
                raise LimitReached(_words(held), held.wait_s)
            entry.reservation = held
        entry.admitted_s = self._clock()
        entry.tally.mark("limit")

    async def close(self, entry: Entry, fleet: Mapping[str, Upstream]) -> UsageRecord:
        """Settle what was set aside and write the line."""
        usage = entry.tally.usage or Usage()
        money_nano = self._money_nano(entry, usage, fleet)
        if entry.reservation is not None:
            await self._settle(entry.reservation, entry, usage, money_nano)
        record = self._record(entry, usage, money_nano)
        if self._ledger is not None:
            self._ledger.write(record)
        return record

    def note_shadow(self, call: Call, tally: Tally, fleet: Mapping[str, Upstream]) -> None:
        """Write down what a shadow took; no caller's budget pays for it."""
        self._note(call, tally, fleet, "shadow")

    def note_stage(self, call: Call, tally: Tally, fleet: Mapping[str, Upstream]) -> None:
        """Write down what was asked on the way to a caller's answer."""
        self._note(call, tally, fleet, "stage")

    def _note(self, call: Call, tally: Tally, fleet: Mapping[str, Upstream], kind: Kind) -> None:
        if self._ledger is None or tally.upstream is None:
            return
        entry = Entry(call, tally, outcome="ok", status=200, admitted_s=call.received_s)
        usage = tally.usage or Usage()
        record = self._record(entry, usage, self._money_nano(entry, usage, fleet))
        self._ledger.write(replace(record, kind=kind))

    def _money_nano(self, entry: Entry, usage: Usage, fleet: Mapping[str, Upstream]) -> int:
        if entry.tally.money_nano is not None:
            return entry.tally.money_nano
        upstream = fleet.get(entry.tally.upstream or "")
        if upstream is None or entry.tally.is_cached:
            return 0
        return upstream.prices.money_nano(usage)

    async def _settle(
        self, reservation: Reservation, entry: Entry, usage: Usage, money_nano: int
    ) -> None:
        if entry.tally.attempts == 0 and not entry.tally.is_cached:
            settling = self._limits.release(reservation)
        else:
            tokens = 0 if entry.tally.is_cached else usage.total_tokens
            settling = self._limits.settle(reservation, Amounts(1, tokens, money_nano))
        await settling

    def _record(self, entry: Entry, usage: Usage, money_nano: int) -> UsageRecord:
        call, tally, now_s = entry.call, entry.tally, self._clock()
        admitted_s = entry.admitted_s or now_s
        return UsageRecord(
            call.id,
            self._wall_clock(),
            call.caller.tenant,
            call.caller.key,
            call.operation,
            call.model,
            entry.outcome,
            entry.status,
            usage,
            money_nano,
            tally.adapters[0] if len(tally.adapters) == 1 else None,
            tally.upstream,
            tally.attempts,
            call.is_stream,
            admitted_s - call.received_s,
            None if tally.first_byte_s is None else tally.first_byte_s - admitted_s,
            now_s - call.received_s,
        )


def _words(refusal: Refusal) -> str:
    if refusal.retry_after_s is None:
        return f"{refusal.message}: this request alone is larger. Make it smaller."
    return f"{refusal.message}. Send it again in {refusal.retry_after_s} s."
