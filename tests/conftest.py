"""Shapes written in `descant.model` are checked while tests run."""

from __future__ import annotations

from jaxtyping import install_import_hook

# Before anything imports the room: modules loaded earlier would stay unchecked.
install_import_hook(["descant.model"], "beartype.beartype")

import torch  # noqa: E402

# Sums are cut by threads: the same few everywhere, and one where OMP_NUM_THREADS asks for one.
torch.set_num_threads(min(2, torch.get_num_threads()))
