"""``descant train init``: looks at labelled conversations and writes a first recipe for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from descant.cli.options import DEFAULT_MODEL, JsonOption, ModelOption

if TYPE_CHECKING:
    from rich.table import Table

    from descant.cli.loading import Base
    from descant.cli.terminal import Terminal
    from descant.data import Drafts, Finding, Inspection
    from descant.schema import Indicator, LabelledTranscript

_DEV_SHARE = 0.1


@dataclass(frozen=True)
class FirstLook:
    """What one call of `init` found and wrote."""

    recipe: Path
    indicators: Path
    written: tuple[Path, ...]
    """Indicator files that were not there before."""
    refused: Mapping[str, str]
    """Label names that no indicator can be made of, and why."""
    findings: Sequence[Finding]
    inspection: Inspection

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "recipe": str(self.recipe),
            "indicators": str(self.indicators),
            "written": [str(path) for path in self.written],
            "refused": dict(self.refused),
            "findings": [{"topic": found.topic, "text": found.text} for found in self.findings],
            "inspection": self.inspection.to_json(),
        }


def init(
    data: Annotated[Path, typer.Argument(help="Labelled conversations, one JSON object a line.")],
    indicators: Annotated[
        Path | None,
        typer.Option(
            help="Folder of indicator files. [default: beside the recipe, one for each label name]",
            show_default=False,
        ),
    ] = None,
    output: Annotated[Path, typer.Option(help="The recipe to write.")] = Path("recipe.toml"),
    model: ModelOption = DEFAULT_MODEL,
    json: JsonOption = False,
) -> None:
    """Look at labelled conversations, say what is there, and write a first recipe."""
    from descant.cli.loading import load_base, read_rows
    from descant.cli.terminal import Terminal

    terminal = Terminal()
    _check_new(output)
    rows = read_rows(data)
    base = load_base(terminal, model)
    look = _write(rows, base, data, indicators, output)
    if json:
        terminal.print_json(look.to_json())
    else:
        _show(terminal, look)


def _write(
    rows: Sequence[LabelledTranscript],
    base: Base,
    data: Path,
    indicators: Path | None,
    output: Path,
) -> FirstLook:
    from descant.data import Drafts, inspect_rows, survey
    from descant.registry import replacing
    from descant.schema import load_indicators
    from descant.training import FirstRecipe

    folder = output.parent / "indicators" if indicators is None else indicators
    drafts = _drafts(rows, data) if indicators is None else Drafts(load_indicators(indicators), {})
    inspection = inspect_rows(rows, drafts.indicators)
    lengths = [len(base.renderer.render_transcript(row.transcript)) for row in rows]
    findings = survey(rows, drafts.indicators, lengths, base.model.config.max_positions)
    written = [] if indicators is not None else write_drafts(folder, drafts.indicators)
    place = output.parent / "runs" / data.name.partition(".")[0] / "adapters"
    first = FirstRecipe(base.name, folder, place, data, _DEV_SHARE)
    with replacing(output) as file:
        file.write(first.to_toml(output.parent).encode())
    return FirstLook(output, folder, tuple(written), drafts.refused, findings, inspection)


def _drafts(rows: Sequence[LabelledTranscript], data: Path) -> Drafts:
    from descant.data import draft_indicators
    from descant.schema.errors import InvalidData, join_errors

    drafts = draft_indicators(rows)
    if drafts.indicators:
        return drafts
    if not drafts.refused:
        raise InvalidData(
            f"{data}: no conversation has a label.",
            field="labels",
            remedy='Write them as "labels": {"refund_offered": "yes"}.',
        )
    raise join_errors(
        [
            InvalidData(f"{data}: labels.{name}: no indicator: {reason}", field=f"labels.{name}")
            for name, reason in drafts.refused.items()
        ]
    )


def write_drafts(folder: Path, indicators: Sequence[Indicator]) -> list[Path]:
    """Write the indicators that have no file yet, and return these files."""
    from descant.registry import replacing

    paths = {folder / f"{indicator.name}.toml": indicator for indicator in indicators}
    new = [path for path in paths if not path.exists()]
    for path in new:
        with replacing(path) as file:
            file.write(_draft_toml(paths[path]).encode())
    return new


def _draft_toml(indicator: Indicator) -> str:
    from descant.schema import indicator_toml

    return (
        "# Made from the name of a label. Say the question as you would ask a colleague, and see\n"
        "# that positive holds the label of what you look for.\n"
        f"{indicator_toml(indicator)}"
    )


def _check_new(output: Path) -> None:
    from descant.schema.errors import InvalidConfig

    if output.exists():
        raise InvalidConfig(
            f"{output} is there already.",
            field="output",
            remedy="Name another file with --output, or move that one away.",
        )


def _show(terminal: Terminal, look: FirstLook) -> None:
    from descant.cli.data import balance_table, suspicions

    terminal.print(balance_table(look.inspection.balance), _finding_table(look))
    terminal.print(*suspicions(look.inspection, None))
    if look.written:
        terminal.print(
            f"Wrote {len(look.written)} indicators into {look.indicators}; "
            "make their questions yours before you train."
        )
    terminal.print(f"Wrote {look.recipe}")
    terminal.print(f"What it would take:  descant train {look.recipe} --dry-run")


def _finding_table(look: FirstLook) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(
        title="Conversations",
        title_justify="left",
        title_style="bold",
        box=SIMPLE_HEAD,
        show_header=False,
    )
    for found in look.findings:
        table.add_row(found.topic, found.text)
    for name, reason in look.refused.items():
        table.add_row(name, f"not an indicator: {reason}")
    return table
