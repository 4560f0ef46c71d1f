"""Shapes written in `descant.model` are checked; properties are tried on the same examples each time.

`HYPOTHESIS_PROFILE=explore` draws other examples at every run, and five times as many where a test
does not say how many.
"""

from __future__ import annotations

import os

from hypothesis import settings
from jaxtyping import install_import_hook

# What runs tests beside each other says how wide its terminal is; there is none.
os.environ.pop("COLUMNS", None)

pytest_plugins = ["tests.registry.locations"]

settings.register_profile("same", derandomize=True)
settings.register_profile("explore", derandomize=False, max_examples=500)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))

# Before anything imports the room: modules loaded earlier would stay unchecked.
install_import_hook(["descant.model"], "beartype.beartype")

import torch  # noqa: E402

# Sums are cut by threads: the same few everywhere, and one where OMP_NUM_THREADS asks for one.
torch.set_num_threads(min(2, torch.get_num_threads()))
