"""Every token is foretold once, from enough of what stands before it."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from descant.engine import Windows, log_loss
from descant.model import DenseCausal, Transformer
from descant.schema.errors import InvalidConfig
from tests.tiny import tiny_model

MODEL = tiny_model()
IDS = torch.randint(0, 64, (300,), generator=torch.Generator().manual_seed(5)).tolist()


@st.composite
def cuts(draw: st.DrawFn) -> tuple[Windows, int]:
    window = draw(st.integers(2, 20))
    return Windows(window, draw(st.integers(1, window - 1))), draw(st.integers(2, 100))


@given(cuts())
def test_windows_foretell_every_token_but_the_first_once(cut: tuple[Windows, int]) -> None:
    windows, num_tokens = cut
    foretold = []
    for start, first, stop in windows.spans(num_tokens):
        assert stop - start <= windows.window_tokens
        known = first - start
        assert known >= (1 if start == 0 else windows.window_tokens - windows.stride_tokens)
        foretold += range(first, stop)
    assert foretold == list(range(1, num_tokens))


@pytest.mark.parametrize("sizes", [(1, 1), (8, 8), (8, 0)])
def test_windows_that_leave_gaps_are_refused(sizes: tuple[int, int]) -> None:
    with pytest.raises(InvalidConfig, match="_tokens"):
        Windows(*sizes)


def slow_loss(model: Transformer, windows: Windows) -> float:
    losses = []
    for place in range(1, len(IDS)):
        start = next(s for s, first, stop in windows.spans(len(IDS)) if first <= place < stop)
        ids = torch.tensor(IDS[start:place])
        with torch.inference_mode():
            hidden = model(ids, torch.arange(len(ids)), DenseCausal())
            losses.append(-model.logits(hidden[-1:]).log_softmax(-1)[0, IDS[place]])
    return float(torch.stack(losses).mean())


@pytest.mark.parametrize("sizes", [(512, 256), (40, 15)])
def test_the_loss_is_that_of_each_token_behind_its_window(sizes: tuple[int, int]) -> None:
    windows = Windows(*sizes)
    assert log_loss(MODEL, IDS, "model", windows) == pytest.approx(
        slow_loss(MODEL, windows), rel=1e-5
    )


def test_a_rounded_cache_shows_and_hardly_matters() -> None:
    windows = Windows(128, 64)
    plain, rounded = (log_loss(MODEL, IDS, dtype, windows) for dtype in ("model", "int8"))
    assert plain != rounded
    assert math.exp(rounded - plain) == pytest.approx(1, abs=0.05)
