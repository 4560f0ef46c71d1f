"""One request from its arrival to its line in the ledger: what is set aside for it, and what it took."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from descant.gateway.batches import ModelUsage
from descant.gateway.call import Call, Caller, Usage
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


@dataclass(frozen=True)
class Fetch:
    """Who fetched the output of a batch, whole."""

    caller: Caller
    upstream: Upstream
    file_id: str
    """The upstream's."""
    price_share: float


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
                raise limit_reached(held)
            entry.reservation = held
        entry.admitted_s = self._clock()
        entry.tally.mark("limit")

    def write(self, entry: Entry, fleet: Mapping[str, Upstream]) -> tuple[UsageRecord, ...]:
        """Write what a request took: its own line, then those of second askings in vain."""
        # An answer that was found, and that a limit did not let out, was not given.
        is_given = entry.admitted_s is not None
        usage = (entry.tally.usage if is_given else None) or Usage()
        money_nano = self._money_nano(entry.tally, usage, fleet)
        record = self._record(entry, usage, money_nano)
        records = (record, *self._lost(record, entry.tally, fleet))
        if self._ledger is not None:
            for each in records:
                self._ledger.write(each)
        return records

    async def settle(self, entry: Entry, records: tuple[UsageRecord, ...]) -> None:
        """Give back what was set aside beyond what `write` has written."""
        tally, reservation = entry.tally, entry.reservation
        if reservation is None:
            return
        if tally.attempts == 0 and not tally.is_cached:
            await self._limits.release(reservation)
            return
        tokens = 0 if tally.is_cached else sum(each.usage.total_tokens for each in records)
        money_nano = sum(each.money_nano for each in records)
        await self._limits.settle(reservation, Amounts(1, tokens, money_nano))

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
        record = self._record(entry, usage, self._money_nano(tally, usage, fleet))
        self._ledger.write(replace(record, kind=kind))

    def note_batch(self, fetch: Fetch, found: Sequence[ModelUsage]) -> None:
        """Write down what a batch took: a line a model, and once, however often its output is fetched.

        Limits and budgets do not learn of it while this gateway runs; at its next start budgets do.
        """
        if self._ledger is None:
            return
        for part, each in enumerate(found):
            money_nano = round(fetch.upstream.prices.money_nano(each.usage) * fetch.price_share)
            self._ledger.write(
                UsageRecord(
                    f"batch:{fetch.upstream.name}:{fetch.file_id}",
                    self._wall_clock(),
                    fetch.caller.tenant,
                    fetch.caller.key,
                    "batches",
                    each.model,
                    "ok",
                    200,
                    each.usage,
                    money_nano,
                    upstream=fetch.upstream.name,
                    part=part,
                )
            )

    def _money_nano(self, tally: Tally, usage: Usage, fleet: Mapping[str, Upstream]) -> int:
        if tally.money_nano is not None:
            return tally.money_nano
        upstream = fleet.get(tally.upstream or "")
        if upstream is None or tally.is_cached:
            return 0
        return upstream.prices.money_nano(usage)

    def _lost(
        self, record: UsageRecord, tally: Tally, fleet: Mapping[str, Upstream]
    ) -> list[UsageRecord]:
        """Return the lines of second askings that came too late: they were paid for as well."""
        return [
            replace(
                record,
                kind="hedge",
                part=number,
                upstream=lost.upstream,
                usage=lost.usage or Usage(),
                money_nano=self._money_nano(lost, lost.usage or Usage(), fleet),
            )
            for number, lost in enumerate(tally.lost)
        ]

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


def limit_reached(refusal: Refusal) -> LimitReached:
    """Return what a caller is told whose limits have no room."""
    return LimitReached(_words(refusal), refusal.wait_s)


def _words(refusal: Refusal) -> str:
    if refusal.retry_after_s is None:
        return f"{refusal.message}: this request alone is larger. Make it smaller."
    return f"{refusal.message}. Send it again in {refusal.retry_after_s} s."
