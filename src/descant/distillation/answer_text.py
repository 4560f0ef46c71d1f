"""Which label an answer is.

An answer is a label as it stands, or ``{"label": "…"}``. Around a bare one, space, quotes and a full
stop are forgiven, and case is; anything more is no answer.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

AROUND = " \t\r\n\"'`"
"""What may stand around a bare label."""


def read_label(text: str, labels: Sequence[str]) -> str | None:
    """Return the label that an answer is, or None."""
    said = _in_json(text)
    readings = [said] if said is not None else [text.strip(), text.strip(AROUND), _bare(text)]
    for reading in readings:
        if reading in labels:
            return reading
    alike = [label for label in labels if label.casefold() == readings[-1].casefold()]
    return alike[0] if len(alike) == 1 else None


def _in_json(text: str) -> str | None:
    try:
        table = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(table, dict):
        return None
    label = table.get("label")
    # An object that says anything else is no label, whatever it looks like as text.
    return label.strip() if len(table) == 1 and isinstance(label, str) else ""


def _bare(text: str) -> str:
    return text.strip(AROUND).removesuffix(".").strip(AROUND)
