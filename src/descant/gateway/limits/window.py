"""What was taken from one rate in its last window, in slots of a hundredth of it."""

from __future__ import annotations

from descant.gateway.limits.claim import SLOTS


class Window:
    """A sum that forgets each slot once its last part is older than the window.

    So no window of that length, wherever it begins, sees more than was let through.
    """

    __slots__ = ("_slot_us", "_slots", "taken")

    def __init__(self, slot_us: int):
        self._slot_us = slot_us
        # Slot number → amount, oldest first: time does not go back.
        self._slots: dict[int, int] = {}
        self.taken = 0

    def sweep(self, now_us: int) -> None:
        """Forget what came back by now."""
        oldest = now_us // self._slot_us - SLOTS
        slots = self._slots
        while slots and (first := next(iter(slots))) < oldest:
            self.taken -= slots.pop(first)

    def take(self, amount: int, now_us: int) -> None:
        """Take without asking."""
        slot = now_us // self._slot_us
        self._slots[slot] = self._slots.get(slot, 0) + amount
        self.taken += amount

    def give_back(self, amount: int, taken_us: int) -> None:
        """Give back some of what was taken then, unless it came back by itself."""
        slot = taken_us // self._slot_us
        if slot in self._slots:
            self._slots[slot] -= amount
            self.taken -= amount

    def wait_us(self, missing: int, now_us: int) -> int:
        """Return how long until that much, at most all that is taken, has come back."""
        slot = now_us // self._slot_us
        for slot, amount in self._slots.items():  # noqa: B007
            missing -= amount
            if missing <= 0:
                break
        return (slot + 1 + SLOTS) * self._slot_us - now_us

    def reset_us(self, now_us: int) -> int:
        """Return how long until everything has come back."""
        if self.taken == 0:
            return 0
        return (next(reversed(self._slots)) + 1 + SLOTS) * self._slot_us - now_us
