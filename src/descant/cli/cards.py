"""A scorecard as a table for people."""

from __future__ import annotations

from collections.abc import Mapping

from rich.table import Table
from rich.text import Text

from descant.schema import Answer, Scorecard

_BAR_WIDTH = 12
_SURE = 0.8


def scorecard_table(
    scorecard: Scorecard, expected: Mapping[str, str | None] | None = None
) -> Table:
    """Return one scorecard: answer, its probability as a bar, and why where there is none.

    `expected` are the labels people gave; with them every answer is marked right or wrong.
    """
    usage = scorecard.usage
    table = Table(
        title=f"Scorecard of {scorecard.transcript_id}",
        caption=f"{usage.tokens_read:,} tokens read, {usage.tokens_shared:,} shared, "
        f"{usage.time_s:.2f} s",
        title_justify="left",
        caption_justify="left",
    )
    table.add_column("indicator", no_wrap=True)
    table.add_column("answer", no_wrap=True)
    table.add_column("probability", min_width=_BAR_WIDTH + len(" 100%"))
    if expected is not None:
        table.add_column("people said")
    for answer in scorecard.answers:
        cells = [answer.indicator, *_answer_cells(answer)]
        if expected is not None:
            cells.append(_expected_cell(answer, expected.get(answer.indicator)))
        table.add_row(*cells)
    return table


def _answer_cells(answer: Answer) -> list[str | Text]:
    if answer.label is None or answer.confidence is None:
        return [Text("unanswered", style="yellow"), Text(answer.unanswered or "", style="yellow")]
    style = "bold" if answer.confidence >= _SURE else "dim"
    return [Text(answer.label, style=style), Text(_bar(answer.confidence), style=style)]


def _bar(share: float) -> str:
    filled = round(share * _BAR_WIDTH)
    return f"{'█' * filled}{'░' * (_BAR_WIDTH - filled)} {share:4.0%}"


def _expected_cell(answer: Answer, expected: str | None) -> Text:
    if expected is None:
        return Text("-", style="dim")
    if answer.label == expected:
        return Text(f"✓ {expected}", style="green")
    return Text(f"✗ {expected}", style="red")
