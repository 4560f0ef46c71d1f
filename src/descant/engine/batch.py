"""What one step computes: its tokens, where their keys go, and what each may look at.

Tokens of one step stand in one flat row order. A token's context has two kinds of keys: *fresh*
ones, computed in this very step by its own sequence, and *past* ones, already in the cache. Many
sequences that share a prefix read its past keys in one part.
"""

from __future__ import annotations

from collections.abc import Sequence as Seq
from dataclasses import dataclass
from itertools import groupby

import torch
from jaxtyping import Float, Int
from torch import Tensor

from descant.engine.adapter_pool import AdapterPool
from descant.engine.sequence import Sequence
from descant.engine.step_rows import AdapterRun, StepRows, join_runs


@dataclass(frozen=True)
class Scheduled:
    """A sequence and how many of its remaining tokens this step computes."""

    sequence: Sequence
    num_tokens: int
    """The draft included."""
    draft: tuple[int, ...] = ()
    """Guesses behind the last known token, to be found right or wrong by this step."""


@dataclass(frozen=True)
class FreshPart:
    """Neighbouring sequences with equally many new tokens each; causal within each."""

    first_row: int
    num_sequences: int
    tokens_each: int

    @property
    def rows(self) -> slice:
        """The rows of the step it covers."""
        return slice(self.first_row, self.first_row + self.num_sequences * self.tokens_each)


@dataclass(frozen=True)
class PastPart:
    """Neighbouring rows and the cached keys they all see: N groups of equally many rows."""

    first_row: int
    num_groups: int
    rows_each: int
    slots: Int[Tensor, "N C"] | slice
    """One list of key slots per group; a slice when one group's slots are neighbours."""
    mask: Float[Tensor, "N C"] | None
    """0 for a key of the group, very negative for padding; None when nothing is padded."""

    @property
    def rows(self) -> slice:
        """The rows of the step it covers."""
        return slice(self.first_row, self.first_row + self.num_groups * self.rows_each)


@dataclass(frozen=True)
class DecodePart:
    """The first rows of a step: one new token each, of sequences that share nothing."""

    slots: Int[Tensor, "N C"]
    """Where all its keys are, its own included; padded at the end with any slot."""
    lengths: Int[Tensor, " N"]

    @property
    def num_rows(self) -> int:
        """N."""
        return len(self.lengths)


@dataclass(frozen=True)
class StepBatch:
    """One step's input."""

    token_ids: Int[Tensor, " T"]
    positions: Int[Tensor, " T"]
    write_slots: Int[Tensor, " T"]
    decode: DecodePart | None
    fresh: tuple[FreshPart, ...]
    past: tuple[PastPart, ...]
    """Fresh and past parts count rows from behind the single ones."""
    adapter_rows: StepRows | None
    """None where no row has an adapter."""
    kept_rows: tuple[tuple[Sequence, slice], ...]
    """Rows whose hidden states somebody wants."""


_PADDING = -1e30


class BatchBuilder:
    """Lays scheduled sequences out as one `StepBatch`."""

    def __init__(self, pool: AdapterPool, block_tokens: int, device: torch.device):
        self.pool = pool
        self.block_tokens = block_tokens
        self.device = device

    def build(self, scheduled: Seq[Scheduled]) -> StepBatch:
        """Return the batch, its rows sorted so that every part is one slice."""
        order = sorted(scheduled, key=self._sort_key)
        first_rows = _running_sum([item.num_tokens for item in order])
        placed = list(zip(order, first_rows, strict=True))
        num_single = sum(map(_is_single, order))
        others = [(item, row - num_single) for item, row in placed[num_single:]]
        runs = self._adapter_runs(placed)
        return StepBatch(
            token_ids=self._tensor([t for item in order for t in _new_tokens(item)]),
            positions=self._tensor([p for item in order for p in _new_positions(item)]),
            write_slots=self._tensor([s for item in order for s in self._new_slots(item)]),
            decode=self._decode_part(order[:num_single]) if num_single else None,
            fresh=_fresh_parts(others),
            past=tuple(self._past_parts(others)),
            adapter_rows=StepRows(join_runs(runs)) if runs else None,
            kept_rows=tuple(_kept_rows(placed)),
        )

    def _decode_part(self, items: Seq[Scheduled]) -> DecodePart:
        lengths = [item.sequence.num_computed + 1 for item in items]
        width = -(-max(lengths) // self.block_tokens)
        blocks = [_padded(item.sequence.blocks[:width], width) for item in items]
        first_slots = torch.tensor(blocks, dtype=torch.int64) * self.block_tokens
        slots = (first_slots[:, :, None] + torch.arange(self.block_tokens)).flatten(1)
        return DecodePart(slots.to(self.device), self._tensor(lengths))

    def _sort_key(self, item: Scheduled) -> tuple[bool, int, int, int]:
        sequence = item.sequence
        family = id(sequence.parent) if sequence.parent is not None else 0
        content = sequence.adapter_hash
        slot = -1 if content is None else self.pool.slot(content)
        return not _is_single(item), family, item.num_tokens, slot

    def _tensor(self, values: list[int]) -> Tensor:
        return torch.tensor(values, dtype=torch.int64, device=self.device)

    def _new_slots(self, item: Scheduled) -> list[int]:
        first = item.sequence.num_computed - item.sequence.num_shared
        return self._own_slots(item.sequence, first, first + item.num_tokens)

    def _own_slots(self, sequence: Sequence, first: int, stop: int) -> list[int]:
        return self._slots(sequence.blocks, range(first, stop))

    def _shared_slots(self, sequence: Sequence) -> list[int]:
        return self._slots(sequence.shared_blocks, range(sequence.num_shared))

    def _slots(self, blocks: Seq[int], places: range) -> list[int]:
        size = self.block_tokens
        return [blocks[place // size] * size + place % size for place in places]

    def _past_parts(self, placed: Seq[tuple[Scheduled, int]]) -> list[PastPart]:
        return self._shared_parts(placed) + self._own_parts(placed)

    def _shared_parts(self, placed: Seq[tuple[Scheduled, int]]) -> list[PastPart]:
        parts = []
        forked = [(item, row) for item, row in placed if item.sequence.num_shared]
        for _, group in groupby(forked, key=lambda entry: id(entry[0].sequence.parent)):
            members = list(group)
            first_row = members[0][1]
            num_rows = sum(item.num_tokens for item, _ in members)
            slots = [self._shared_slots(members[0][0].sequence)]
            parts.append(self._past_part(first_row, num_rows, slots))
        return parts

    def _own_parts(self, placed: Seq[tuple[Scheduled, int]]) -> list[PastPart]:
        parts = []
        for (size, _, has_past), group in groupby(placed, key=_own_past_key):
            members = list(group)
            if not has_past:
                continue
            slots = [
                self._own_slots(s, 0, s.num_computed - s.num_shared)
                for s in (item.sequence for item, _ in members)
            ]
            parts.append(self._past_part(members[0][1], size, slots))
        return parts

    def _past_part(self, first_row: int, rows_each: int, slots: list[list[int]]) -> PastPart:
        if len(slots) == 1 and slots[0][-1] - slots[0][0] == len(slots[0]) - 1:
            first = slots[0][0]
            neighbours = slice(first, first + len(slots[0]))
            if slots[0] == list(range(neighbours.start, neighbours.stop)):
                return PastPart(first_row, 1, rows_each, neighbours, None)
        width = max(map(len, slots))
        padded = torch.zeros(len(slots), width, dtype=torch.int64)
        mask = torch.full((len(slots), width), _PADDING)
        for row, own in enumerate(slots):
            padded[row, : len(own)] = torch.tensor(own)
            mask[row, : len(own)] = 0.0
        ragged = any(len(own) < width for own in slots)
        return PastPart(
            first_row,
            len(slots),
            rows_each,
            padded.to(self.device),
            mask.to(self.device) if ragged else None,
        )

    def _adapter_runs(self, placed: Seq[tuple[Scheduled, int]]) -> list[AdapterRun]:
        runs = []
        for item, first_row in placed:
            sequence = item.sequence
            before = min(max(sequence.activation - sequence.num_computed, 0), item.num_tokens)
            spans = [
                (sequence.reader_hash, first_row, before),
                (sequence.adapter_hash, first_row + before, item.num_tokens - before),
            ]
            runs += [
                AdapterRun(self.pool.slot(content_hash), 1, row, num_rows)
                for content_hash, row, num_rows in spans
                if content_hash is not None and num_rows
            ]
        return runs


def _is_single(item: Scheduled) -> bool:
    return item.num_tokens == 1 and not item.sequence.num_shared


def _own_past_key(entry: tuple[Scheduled, int]) -> tuple[int, int, bool]:
    # Single tokens batch over sequences; a longer chunk stands alone, marked by its row.
    item, first_row = entry
    has_past = item.sequence.num_computed > item.sequence.num_shared
    alone = 0 if item.num_tokens == 1 else 1 + first_row
    return item.num_tokens, alone, has_past


def _fresh_parts(placed: Seq[tuple[Scheduled, int]]) -> tuple[FreshPart, ...]:
    parts = []
    for size, group in groupby(placed, key=lambda entry: entry[0].num_tokens):
        members = list(group)
        parts.append(FreshPart(members[0][1], len(members), size))
    return tuple(parts)


def _kept_rows(placed: Seq[tuple[Scheduled, int]]) -> list[tuple[Sequence, slice]]:
    kept = []
    for item, first_row in placed:
        sequence = item.sequence
        stop = first_row + item.num_tokens
        if sequence.chooser is not None:
            num_known = item.num_tokens - len(item.draft)
            if num_known == sequence.num_remaining:
                kept.append((sequence, slice(first_row + num_known - 1, stop)))
        elif sequence.read_from is not None:
            skipped = max(sequence.read_from - sequence.num_computed, 0)
            if skipped < item.num_tokens:
                kept.append((sequence, slice(first_row + skipped, stop)))
    return kept


def _new_tokens(item: Scheduled) -> list[int]:
    first = item.sequence.num_computed
    num_known = item.num_tokens - len(item.draft)
    return [*item.sequence.token_ids[first : first + num_known], *item.draft]


def _new_positions(item: Scheduled) -> range:
    first = item.sequence.num_computed
    return range(first, first + item.num_tokens)


def _padded(blocks: Seq[int], width: int) -> list[int]:
    return [*blocks, *(0 for _ in range(width - len(blocks)))]


def _running_sum(counts: Seq[int]) -> list[int]:
    first_rows, total = [], 0
    for count in counts:
        first_rows.append(total)
        total += count
    return first_rows
