"""What may be generated next, said in token ids."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Constraint(Protocol):
    """The state of one sequence under a grammar; not to be shared between sequences.

    `fill_mask` and `accept` raise `InputError` once the grammar grows past its limits, which for some
    grammars shows only while text is generated. The sequence cannot go on then; others can.
    """

    def fill_mask(self, bitmask: NDArray[np.int32]) -> None:
        """Write which tokens may come next.

        `bitmask` has shape [ceil(V / 32)] and is contiguous; bit i % 32 of word i // 32 is token i.
        """

    def accept(self, token_id: int) -> None:
        """Go on by a token that the mask allowed."""

    @property
    def is_stopped(self) -> bool:
        """Whether nothing more may be generated, with or without an end token."""

    def num_accepted(self, token_ids: Sequence[int]) -> int:
        """Return how many of these tokens in a row could be accepted, without accepting any.

        Where only one text can follow, the mask allows one way to cut it into tokens and this any.
        """

    def forced(self) -> list[int]:
        """Return the tokens of the only text that can follow; empty if there is a choice.

        They can all be accepted. The last are left out where the cut between tokens depends on what
        is chosen behind them.
        """
