"""The base model as transformers and PEFT see it, with one adapter to be trained on it.

Needs the extra ``train``. The weights are those of our own model: views, not copies, except in four
bits. What the model returns instead of logits are hidden states, so that the loss is computed by the
same lines, and from the same vocabulary, as in one-pass training.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import peft
import torch
import transformers
from torch import nn

from descant.model import (
    LoadedModel,
    LoraPair,
    Module,
    adapter_pair,
    adapter_tensors,
    named_weights,
)
from descant.training.adapter_stack import AdapterStack
from descant.training.hyperparameters import Hyperparameters
from descant.training.method import Method


def build_peft_model(
    base: LoadedModel,
    method: Method,
    settings: Hyperparameters,
    invocation: tuple[int, ...],
    seed: int,
) -> peft.PeftModel:
    """Return the model under a new adapter, whose first values one-pass training would give too.

    `seed` is that of the adapter (`descant.training.one_pass.adapter_seed`).
    """
    config = peft.LoraConfig(
        task_type="CAUSAL_LM",
        r=settings.rank,
        lora_alpha=settings.alpha,
        target_modules=list(settings.target_modules),
        use_dora=method == "dora",
        alora_invocation_tokens=list(invocation) if method == "alora" else None,
    )
    with warnings.catch_warnings():
        # PEFT 0.21 calls a name that transformers is about to rename.
        warnings.filterwarnings("ignore", ".*is_gradient_checkpointing.*", FutureWarning)
        model = peft.get_peft_model(_transformers_model(base, method), config)
    stack = AdapterStack(base.config, settings, [seed], torch.device("cpu"))
    peft.set_peft_model_state_dict(model, adapter_tensors(stack.pairs(0)))
    return model


def trained_pairs(
    model: peft.PeftModel, base: LoadedModel, settings: Hyperparameters
) -> dict[tuple[int, Module], LoraPair]:
    """Return the adapter's matrices in float32, on the CPU."""
    state = peft.get_peft_model_state_dict(model, save_embedding_layers=False)
    tensors = {name: tensor.detach().cpu().clone() for name, tensor in state.items()}
    return {
        (layer, module): adapter_pair(tensors, layer, module, settings.alpha / settings.rank)
        for layer in range(base.config.num_layers)
        for module in settings.target_modules
    }


def _transformers_model(base: LoadedModel, method: Method) -> Any:
    device = "cuda" if method == "qlora" else str(base.model.device)
    config = transformers.AutoConfig.from_pretrained(base.folder)
    kind = transformers.MODEL_FOR_CAUSAL_LM_MAPPING[type(config)]
    with _without_progress_bar():
        model = kind.from_pretrained(
            None,
            config=config,
            state_dict=named_weights(base.model),
            dtype=base.model.dtype,
            device_map={"": device},
            attn_implementation="sdpa",
            quantization_config=_four_bits() if method == "qlora" else None,
        )
    if method == "qlora":
        model = peft.prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
    # PEFT would look the name up on the hub at every checkpoint.
    model.name_or_path = ""
    model.lm_head = nn.Identity()
    return model


@contextmanager
def _without_progress_bar() -> Iterator[None]:
    # One for every adapter, in the middle of our own.
    was_on = transformers.utils.logging.is_progress_bar_enabled()
    transformers.utils.logging.disable_progress_bar()
    try:
        yield
    finally:
        if was_on:
            transformers.utils.logging.enable_progress_bar()


def _four_bits() -> transformers.BitsAndBytesConfig:
    """Return the settings of the QLoRA paper (arXiv 2305.14314): NormalFloat, scales quantized too."""
    return transformers.BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )
