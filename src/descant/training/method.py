"""The ways of training one adapter alone, and what each of them needs."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Literal, get_args

import torch

from descant.schema.errors import InvalidConfig, MissingDependency

Method = Literal["lora", "dora", "qlora", "alora"]
"""``lora``: acts from the first token on. ``dora``: likewise, and scales outputs. ``qlora``: plain
LoRA on a base of four bits. ``alora``: acts from the invocation on, as one-pass training does."""

METHODS: tuple[Method, ...] = get_args(Method)

_PACKAGES = ("peft", "transformers", "accelerate")


def check_method(method: Method) -> None:
    """Refuse a method that cannot be used on this machine.

    Raises:
        InvalidConfig: there is no such method, or it needs an NVIDIA GPU and there is none.
        MissingDependency: the packages of the extra are not installed; says how to install them.
    """
    if method not in METHODS:
        raise InvalidConfig(
            f"There is no method {method!r}.",
            field="method",
            remedy=f"Known: {', '.join(METHODS)}.",
        )
    if method == "qlora" and not torch.cuda.is_available():
        raise InvalidConfig(
            "QLoRA keeps the base in four bits on an NVIDIA GPU, and there is none here.",
            field="method",
            remedy="Use lora or alora.",
        )
    extra = "qlora" if method == "qlora" else "train"
    needed = (*_PACKAGES, "bitsandbytes") if method == "qlora" else _PACKAGES
    missing = [name for name in needed if find_spec(name) is None]
    if missing:
        raise MissingDependency(
            f"To train with method {method!r} takes {', '.join(missing)}.",
            field="method",
            remedy=f"Install the extra: pip install 'descant[{extra}]'",
        )
