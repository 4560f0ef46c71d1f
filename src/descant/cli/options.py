"""Options that several commands share, said once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

DEFAULT_MODEL = "smollm2-135m-instruct"
DEFAULT_ADAPTERS = Path("runs/demo/adapters")

ModelOption = Annotated[
    str,
    typer.Option(
        "--model",
        help="A Hugging Face folder or name, a .gguf file, or the embedded model's name.",
        envvar="DESCANT_MODEL",
    ),
]
AdaptersOption = Annotated[
    Path,
    typer.Option(
        "--adapters",
        help="Folder with one folder for each adapter; made by demo and train.",
        envvar="DESCANT_ADAPTERS",
    ),
]
IndicatorsOption = Annotated[
    Path | None,
    typer.Option(
        "--indicators",
        help="Folder of indicator files. [default: what each adapter was trained on]",
        envvar="DESCANT_INDICATORS",
        show_default=False,
    ),
]
RequiredIndicatorsOption = Annotated[
    Path, typer.Option("--indicators", help="Folder of indicator files (TOML).")
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print JSON for a program instead of text for people.")
]
