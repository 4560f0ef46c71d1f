"""What a generation may say next, as the engine asks it token by token."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Constraint(Protocol):
    """The state of one constrained generation."""

    def fill_mask(self, bitmask: NDArray[np.int32]) -> None:
        """Set bit i of `bitmask` [ceil(V / 32)] where token i may come next, clear the others."""
        ...

    def accept(self, token_id: int) -> None:
        """Go on behind a token that was generated."""
        ...

    @property
    def is_stopped(self) -> bool:
        """True when nothing more may be generated."""
        ...
