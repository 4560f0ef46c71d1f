"""A process that writes a record a millisecond and says when it wrote which; a program of its own."""

from __future__ import annotations

import os
import sys
import time

from tests.gateway.ledger.books import ledger, record


def main(place: str, name: str, most: int) -> None:
    """Each line says: the record's number, and when it was written by the system's monotonic clock."""
    with ledger(place) as opened:
        for number in range(most):
            opened.write(record(f"{name}-{number}", money_nano=1))
            os.write(1, f"{number} {time.monotonic()}\n".encode())
            time.sleep(0.001)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
