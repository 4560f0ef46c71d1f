"""Options that several commands share, said once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from descant.schema import AdapterDtype, KvDtype, Quantization

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
QuantizationOption = Annotated[
    Quantization | None,
    typer.Option(
        "--quantization",
        help="Keep the base model's weights in int8; w8a8 multiplies int8 activations too. "
        "[default: none]",
        envvar="DESCANT_QUANTIZATION",
        show_default=False,
    ),
]
KvDtypeOption = Annotated[
    KvDtype,
    typer.Option(
        "--kv-dtype",
        help="Keys and values as the model computes them, or in int8: half the memory.",
        envvar="DESCANT_KV_DTYPE",
    ),
]
AdapterDtypeOption = Annotated[
    AdapterDtype,
    typer.Option(
        "--adapter-dtype",
        help="Active adapters as the model computes, or in int8: half the memory, and quicker "
        "where many are active.",
        envvar="DESCANT_ADAPTER_DTYPE",
    ),
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print JSON for a program instead of text for people.")
]
