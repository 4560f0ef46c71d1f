"""The number formats a model can be served in."""

from __future__ import annotations

from typing import Literal

Quantization = Literal["int8", "w8a8"]
"""Weights in int8 with a scale an output channel. ``int8``: activations keep their precision;
``w8a8``: they are rounded to int8 too, with a scale a token."""

KvDtype = Literal["model", "int8"]
"""Keys and values as the model computes them, or in int8 with a scale a token and head."""
