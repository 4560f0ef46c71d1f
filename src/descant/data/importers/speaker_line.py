"""Lines such as ``Agent 2: Good morning``: who speaks, and what is said."""

from __future__ import annotations

import re

# A name of at most three words; what follows the colon keeps times and addresses from being names.
_SPEAKER_LINE = re.compile(
    r"\s*(?:>>|-)?\s*([^\W\d_][\w.'()/-]*(?: [\w.'()/-]+){0,2})\s*[:\uff1a](?!//|\d)\s*(.*)"
)


def split_speaker(line: str) -> tuple[str | None, str]:
    """Return the name that a line begins with, if there is one, and the rest of the line."""
    match = _SPEAKER_LINE.fullmatch(line)
    return (match[1], match[2]) if match else (None, line)
