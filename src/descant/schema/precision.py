"""The number formats a model can be served in."""

from __future__ import annotations

from typing import Literal, get_args

from descant.schema.errors import InvalidConfig

Quantization = Literal["int8", "w8a8"]
"""Weights in int8 with a scale an output channel. ``int8``: activations keep their precision;
``w8a8``: they are rounded to int8 too, with a scale a token."""

KvDtype = Literal["model", "int8"]
"""Keys and values as the model computes them, or in int8 with a scale a token and head."""

AdapterDtype = Literal["model", "int8"]
"""Matrices of active adapters as the model computes, or in int8 with a scale a rank."""


def check_quantization(quantization: str | None) -> None:
    """Refuse a quantization there is not.

    Raises:
        InvalidConfig: names those there are.
    """
    if quantization is not None:
        _check("quantization", quantization, get_args(Quantization))


def check_kv_dtype(kv_dtype: str) -> None:
    """Refuse a format of keys and values there is not.

    Raises:
        InvalidConfig: names those there are.
    """
    _check("kv_dtype", kv_dtype, get_args(KvDtype))


def check_adapter_dtype(adapter_dtype: str) -> None:
    """Refuse a format of adapters there is not.

    Raises:
        InvalidConfig: names those there are.
    """
    _check("adapter_dtype", adapter_dtype, get_args(AdapterDtype))


def _check(field: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        remedy = f"Known: {', '.join(known)}."
        raise InvalidConfig(f"{field} {value!r} is not known.", field=field, remedy=remedy)
