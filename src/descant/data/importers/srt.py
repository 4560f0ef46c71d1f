r"""Reads SRT subtitles: one file is one conversation, and names at the beginning of lines are speakers.

Nobody standardized SRT. A block is an optional number, a line of times (``00:00:01,000 -->
00:00:02,000``, perhaps with coordinates) and text; tags such as ``<i>`` and ``{\an8}`` are left out.
"""

from __future__ import annotations

import re
from pathlib import Path

from descant.data.importers.captions import ARROW, Cue, blocks, check_text, cue_turns, parse_times
from descant.data.input_file import read_lines
from descant.schema import Turn
from descant.schema.errors import InvalidData, WrongFormat

_TAG = re.compile(r"</?(?:[biu]|font)(?:\s[^<>]*)?>|\{\\[^{}]*\}", re.IGNORECASE)


def read_srt(path: Path) -> list[Turn]:
    """Return the turns of a file; none where nothing is said in it.

    Raises:
        WrongFormat: the file does not begin with a subtitle.
        InvalidData: a block has no times, or wrong ones; names file and line.
    """
    return cue_turns([_cue(block, at, path) for at, block in enumerate(blocks(read_lines(path)))])


def _cue(block: list[tuple[int, str]], index: int, path: Path) -> Cue:
    at = 1 if block[0][1].strip().isdigit() and len(block) > 1 else 0
    number, times = block[at]
    origin = f"{path}, line {number}"
    if ARROW not in times:
        problem = f"{origin}: a subtitle begins with its number and times."
        if index == 0:
            raise WrongFormat(problem, field="format")
        raise InvalidData(problem, remedy="Within the text of a subtitle there is no blank line.")
    start_s, end_s = parse_times(times, origin)
    check_text(block[at + 1 :], path)
    text = "\n".join(_TAG.sub("", line) for _, line in block[at + 1 :])
    return Cue(start_s, end_s, ((None, text),), origin)
