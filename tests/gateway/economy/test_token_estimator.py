from __future__ import annotations

import random
from typing import Any

import pytest

from descant.gateway.call import Usage
from descant.gateway.economy import TokenEstimator
from descant.gateway.economy.prompt_size import MEDIA_TOKENS
from descant.gateway.economy.token_estimator import FIRST_BYTES_PER_TOKEN


def chat(*contents: Any, **fields: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": content} for content in contents], **fields}


def estimator() -> TokenEstimator:
    return TokenEstimator(default_max_tokens=100)


def test_before_anything_is_known_it_takes_few_bytes_for_a_token() -> None:
    estimate = estimator().estimate("m", chat("x" * 1000))
    assert estimate.prompt_tokens == 1000 / FIRST_BYTES_PER_TOKEN + 4


def test_text_counts_by_its_bytes() -> None:
    known = estimator()
    assert known.estimate("m", chat("ß" * 500)) == known.estimate("m", chat("s" * 1000))


@pytest.mark.parametrize("bytes_per_token", [1.2, 3.0, 5.0])
def test_once_it_has_learned_it_is_near_and_rarely_below(bytes_per_token: float) -> None:
    chance, known = random.Random(0), estimator()
    below, asked, used = 0, 0, 0
    for number in range(2000):
        body = chat("x" * chance.randrange(20, 30_000))
        size = len(body["messages"][0]["content"])
        tokens = round(size / (bytes_per_token * chance.uniform(0.9, 1.1))) + 6
        if number >= 300:
            estimate = known.estimate("m", body).prompt_tokens
            below += estimate < tokens
            asked, used = asked + estimate, used + tokens
        known.learn("m", body, Usage(tokens, 5))
    assert below <= 0.02 * 1700
    assert used <= asked <= 1.3 * used


def test_models_learn_apart_and_a_new_text_is_followed() -> None:
    known = estimator()
    body = chat("x" * 4000)
    for _ in range(100):
        known.learn("m", body, Usage(1004, 5))
    assert known.estimate("m", body).prompt_tokens == 1004
    assert known.estimate("other", body).prompt_tokens == 1604
    known.learn("m", body, Usage(2004, 5))
    assert known.estimate("m", body).prompt_tokens == 2004
    for _ in range(64):
        known.learn("m", body, Usage(1004, 5))
    assert known.estimate("m", body).prompt_tokens == 1004


def test_short_and_long_prompts_learn_apart() -> None:
    known = estimator()
    for _ in range(20):
        known.learn("m", chat("x" * 40), Usage(44, 5))
        known.learn("m", chat("x" * 40_000), Usage(10_004, 5))
    assert known.estimate("m", chat("x" * 40)).prompt_tokens == 44
    assert known.estimate("m", chat("x" * 40_000)).prompt_tokens == 10_004


def test_nonsense_does_not_get_far() -> None:
    known = estimator()
    body = chat("x" * 1000)
    for usage in (Usage(0, 5), Usage(-5, 5)):
        known.learn("m", body, usage)
    assert known.estimate("m", body).prompt_tokens == 404
    known.learn("m", body, Usage(10**12, 5))
    assert known.estimate("m", body).prompt_tokens == 4004


def test_bounded_by_models() -> None:
    known = TokenEstimator(100, most_models=3)
    for number in range(50):
        for _ in range(20):
            known.learn(f"{number}", chat("x" * 1000), Usage(204, 5))
    assert len(known._ratios) == 3
    assert known.estimate("2", chat("x" * 1000)).prompt_tokens == 204
    assert known.estimate("3", chat("x" * 1000)).prompt_tokens == 404


@pytest.mark.parametrize(
    ("body", "most"),
    [
        (chat("a"), 100),
        (chat("a", max_tokens=7), 7),
        (chat("a", max_tokens=7, max_completion_tokens=9), 9),
        (chat("a", max_tokens=7, n=3), 21),
        (chat("a", max_tokens=None, n=None), 100),
        (chat("a", max_tokens="many", n=-2), 100),
        (chat("a", max_tokens=True), 100),
        ({"prompt": "a", "max_tokens": 7, "n": 2, "best_of": 5}, 35),
        ({"prompt": ["a", "b"], "max_tokens": 7}, 14),
        ({"prompt": [1, 2], "max_tokens": 7}, 7),
        ({"input": ["a", "b"]}, 0),
        ({"transcript": []}, 0),
    ],
)
def test_the_most_that_may_be_written(body: dict[str, Any], most: int) -> None:
    assert estimator().estimate("m", body).max_tokens == most


def test_what_is_read_counts_wherever_it_stands() -> None:
    known = estimator()
    plain = known.estimate("m", chat("a")).prompt_tokens
    tools = [{"type": "function", "function": {"name": "x" * 250}}]
    assert known.estimate("m", chat("a", tools=tools)).prompt_tokens > plain + 100
    schema = {"type": "json_schema", "json_schema": {"name": "x" * 250}}
    assert known.estimate("m", chat("a", response_format=schema)).prompt_tokens > plain + 100
    called = {"role": "assistant", "content": None, "tool_calls": [{"function": "x" * 250}]}
    assert known.estimate("m", {"messages": [called]}).prompt_tokens > 100
    parts = [{"type": "text", "text": "x" * 250}]
    assert known.estimate("m", chat(parts)).prompt_tokens == 104
    assert known.estimate("m", {"transcript": "x" * 250}).prompt_tokens > 100


def test_an_image_does_not_count_by_its_bytes() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 900_000}}
    assert estimator().estimate("m", chat([image])).prompt_tokens == MEDIA_TOKENS + 4


def test_token_ids_are_counted() -> None:
    known = estimator()
    assert known.estimate("m", {"input": [1, 2, 3]}).prompt_tokens == 3
    assert known.estimate("m", {"prompt": [[1, 2], [3]]}).prompt_tokens == 3


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"messages": None},
        {"messages": ["a", 5, None, {}]},
        {"messages": [{"role": "user", "content": 5}, {"role": 5, "content": [5, {"text": 5}]}]},
        {"prompt": {"a": 1}},
        {"input": [None, [], [[]], 5.5]},
        {"messages": [], "tools": 5, "response_format": "json"},
    ],
)
def test_whatever_was_sent_there_is_an_estimate(body: dict[str, Any]) -> None:
    estimate = estimator().estimate("m", body)
    assert estimate.prompt_tokens >= 0
    estimator().learn("m", body, Usage(5, 5))
