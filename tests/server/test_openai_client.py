"""The openai package against a real server: what its users call works unchanged."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Iterator
from pathlib import Path

import httpx
import openai
import pytest
from fastapi import FastAPI

from descant.engine import GenerateRequest, SamplingParams
from descant.llm import LLM
from descant.schema import Message
from tests.server.live import live, load, write_served

CHAT = [{"role": "user", "content": "hello there"}]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_served(tmp_path_factory.mktemp("served"))


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[tuple[str, FastAPI, LLM]]:
    llm = load(folder)
    with live(llm) as (address, app):
        yield address, app, llm


@pytest.fixture(scope="module")
def client(server: tuple[str, FastAPI, LLM]) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server[0]}/v1", api_key="none", max_retries=0) as made:
        yield made


@pytest.fixture(scope="module")
def base(server: tuple[str, FastAPI, LLM]) -> str:
    return server[2].model_name


def expected_text(folder: Path, adapter: str | None, max_tokens: int) -> str:
    """The same chat through the Python API, in an engine of its own."""
    llm = load(folder)
    prompt = tuple(llm.renderer.render_chat([Message("user", "hello there")]))
    sampling = SamplingParams(max_tokens=max_tokens, stop_token_ids=llm.tokenizer.eos_ids)
    loaded = None if adapter is None else llm.adapter(adapter)
    [result] = llm.engine.generate([GenerateRequest(prompt, sampling, loaded)])
    return llm.tokenizer.decode(list(result.token_ids))


@pytest.mark.parametrize("adapter", [None, "polite", "mood"])
def test_a_chat_says_what_the_python_api_says(
    client: openai.OpenAI, folder: Path, base: str, adapter: str | None
) -> None:
    answer = client.chat.completions.create(
        model=adapter or base, messages=CHAT, temperature=0, max_completion_tokens=12
    )
    [choice] = answer.choices
    assert choice.message.content == expected_text(folder, adapter, 12)
    assert choice.finish_reason in ("length", "stop")
    assert answer.usage is not None
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert answer.model == (adapter or base)


def test_a_stream_is_the_same_text_in_pieces(client: openai.OpenAI, base: str) -> None:
    asked = {"model": base, "messages": CHAT, "temperature": 0, "max_tokens": 20}
    whole = client.chat.completions.create(**asked)
    chunks = list(
        client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True})
    )
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text == whole.choices[0].message.content
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-2].choices[0].finish_reason == whole.choices[0].finish_reason
    assert chunks[-1].usage is not None
    assert whole.usage is not None
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens


def test_a_prompt_sent_twice_is_read_once(client: openai.OpenAI, base: str) -> None:
    messages = [{"role": "user", "content": "hello there " * 30}]
    usages = []
    for _ in range(2):
        answer = client.chat.completions.create(model=base, messages=messages, max_tokens=1)
        assert answer.usage is not None
        assert answer.usage.prompt_tokens_details is not None
        usages.append(answer.usage.prompt_tokens_details.cached_tokens)
    assert usages[1] > usages[0] + 40
    # An adapter that acts from its invocation on shares what the base has read before that.
    answer = client.chat.completions.create(model="polite", messages=messages, max_tokens=1)
    assert answer.usage.prompt_tokens_details.cached_tokens >= usages[1] - 16


def test_several_choices_differ_and_repeat_with_their_seed(
    client: openai.OpenAI, base: str
) -> None:
    asked = {"model": base, "messages": CHAT, "temperature": 1.5, "n": 3, "max_tokens": 12}
    first = client.chat.completions.create(**asked, seed=7)
    again = client.chat.completions.create(**asked, seed=7)
    texts = [choice.message.content for choice in first.choices]
    assert texts == [choice.message.content for choice in again.choices]
    assert len(set(texts)) > 1
    assert [choice.index for choice in first.choices] == [0, 1, 2]


def test_logprobs_are_those_of_the_chosen_tokens(client: openai.OpenAI, base: str) -> None:
    answer = client.chat.completions.create(
        model=base, messages=CHAT, temperature=0, max_tokens=4, logprobs=True, top_logprobs=3
    )
    content = answer.choices[0].logprobs.content
    assert content is not None
    assert len(content) == answer.usage.completion_tokens
    for token in content:
        assert token.logprob == max(other.logprob for other in token.top_logprobs)
        assert len(token.top_logprobs) == 3
        assert token.logprob <= 0


def test_a_stop_string_ends_the_text_before_it(client: openai.OpenAI, base: str) -> None:
    asked = {"model": base, "messages": CHAT, "temperature": 0, "max_tokens": 20}
    whole = client.chat.completions.create(**asked).choices[0].message.content
    stop = whole[4:6]
    answer = client.chat.completions.create(**asked, stop=[stop, "never said"], logprobs=True)
    cut = answer.choices[0]
    assert answer.usage.prompt_tokens_details.cached_tokens > 0
    told = [token.token for token in cut.logprobs.content]
    assert "".join(told).startswith(cut.message.content)
    # The last one may reach over the cut; none begins behind it.
    assert len("".join(told[:-1])) < len(cut.message.content)
    assert cut.message.content == whole[: whole.index(stop)]
    assert cut.finish_reason == "stop"


def test_an_answer_follows_its_schema(client: openai.OpenAI, base: str) -> None:
    schema = {
        "type": "object",
        "properties": {"sure": {"type": "boolean"}, "mood": {"enum": ["bad", "good"]}},
        "required": ["sure", "mood"],
        "additionalProperties": False,
    }
    answer = client.chat.completions.create(
        model="polite",
        messages=CHAT,
        max_tokens=80,
        response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": schema}},
    )
    parsed = json.loads(answer.choices[0].message.content)
    assert isinstance(parsed["sure"], bool)
    assert parsed["mood"] in ("bad", "good")
    assert answer.choices[0].finish_reason == "stop"


@pytest.mark.parametrize(
    ("form", "allowed"),
    [({"choice": ["yes", "no"]}, ("yes", "no")), ({"regex": "[ab]{3}"}, None)],
)
def test_an_answer_follows_its_form(
    client: openai.OpenAI, base: str, form: dict, allowed: tuple | None
) -> None:
    answer = client.chat.completions.create(
        model=base, messages=CHAT, max_tokens=20, extra_body={"structured_outputs": form}
    )
    text = answer.choices[0].message.content
    assert text in allowed if allowed else set(text) <= set("ab") and len(text) == 3


TOOLS = [
    {
        "type": "function",
        "function": {
            "name": name,
            "parameters": {
                "type": "object",
                "properties": {"loud": {"type": "boolean"}},
                "required": ["loud"],
                "additionalProperties": False,
            },
        },
    }
    for name in ("ring", "hang_up")
]


@pytest.mark.parametrize(
    ("choice", "names"),
    [
        ("required", {"ring", "hang_up"}),
        ({"type": "function", "function": {"name": "hang_up"}}, {"hang_up"}),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_a_forced_call_names_a_tool_and_follows_its_schema(
    client: openai.OpenAI, base: str, choice: object, names: set, stream: bool
) -> None:
    asked = {"model": base, "messages": CHAT, "tools": TOOLS, "tool_choice": choice}
    if stream:
        chunks = client.chat.completions.create(**asked, max_tokens=80, stream=True)
        [call] = [c for chunk in chunks for c in chunk.choices[0].delta.tool_calls or ()]
    else:
        message = client.chat.completions.create(**asked, max_tokens=80).choices[0].message
        assert message.content is None
        [call] = message.tool_calls
    assert call.function.name in names
    assert isinstance(json.loads(call.function.arguments)["loud"], bool)


def test_a_call_and_its_answer_can_be_sent_back(client: openai.OpenAI, base: str) -> None:
    call = {"id": "1", "type": "function", "function": {"name": "ring", "arguments": "{}"}}
    messages = [
        *CHAT,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "1", "content": "it rang"},
    ]
    answer = client.chat.completions.create(
        model=base, messages=messages, tools=TOOLS, tool_choice="none", max_tokens=3
    )
    assert answer.choices[0].message.tool_calls is None


def test_completions_take_text_and_token_ids(
    client: openai.OpenAI, server: tuple[str, FastAPI, LLM], base: str
) -> None:
    ids = server[2].tokenizer.encode("hello there")
    asked = {"model": base, "temperature": 0, "max_tokens": 6}
    both = client.completions.create(**asked, prompt=["hello there", "no"])
    alone = client.completions.create(**asked, prompt=ids, logprobs=2)
    assert both.choices[0].text == alone.choices[0].text
    assert len(both.choices) == 2
    logprobs = alone.choices[0].logprobs
    assert "".join(logprobs.tokens) == alone.choices[0].text
    assert len(logprobs.token_logprobs) == 6
    chunks = list(client.completions.create(**asked, prompt=ids, stream=True, logprobs=2))
    assert "".join(chunk.choices[0].text for chunk in chunks) == alone.choices[0].text
    offsets = [at for chunk in chunks for at in chunk.choices[0].logprobs.text_offset]
    assert offsets == logprobs.text_offset
    assert offsets[-1] > 0


def test_one_prompt_that_fails_takes_the_others_along(
    client: openai.OpenAI, server: tuple[str, FastAPI, LLM], base: str
) -> None:
    llm = server[2]
    room = llm.engine.max_sequence_tokens
    asked = {"model": base, "max_tokens": room // 2, "extra_body": {"ignore_eos": True}}
    with pytest.raises(openai.BadRequestError, match="tokens are needed"):
        client.completions.create(**asked, prompt=[[5] * 9, [6] * (room * 3 // 4)])
    for _ in range(200):
        if llm.engine.is_idle:
            break
        httpx.get(f"{server[0]}/health")
    assert llm.engine.is_idle


def test_embeddings_have_length_one_and_say_what_they_are(
    client: openai.OpenAI, server: tuple[str, FastAPI, LLM], base: str
) -> None:
    made = client.embeddings.create(model=base, input=["hello there", "yes"])
    for row in made.data:
        assert sum(x * x for x in row.embedding) == pytest.approx(1.0, abs=1e-5)
    raw = httpx.post(
        f"{server[0]}/v1/embeddings",
        json={"model": base, "input": "yes", "encoding_format": "base64"},
    ).json()
    assert raw["pooling"] == "mean-of-base-hidden-states"
    packed = base64.b64decode(raw["data"][0]["embedding"])
    vector = struct.unpack(f"<{len(packed) // 4}f", packed)
    assert list(vector) == pytest.approx(made.data[1].embedding, abs=1e-6)


def test_models_name_their_parent(client: openai.OpenAI, base: str) -> None:
    listed = {model.id: model for model in client.models.list()}
    assert set(listed) == {base, "polite", "mood"}
    assert listed["polite"].parent == base  # type: ignore[attr-defined]


def test_unknown_models_and_bad_fields_are_named(client: openai.OpenAI, base: str) -> None:
    with pytest.raises(openai.NotFoundError, match="nobody"):
        client.chat.completions.create(model="nobody", messages=CHAT)
    with pytest.raises(openai.BadRequestError, match="best_of"):
        client.completions.create(model=base, prompt="a", extra_body={"best_of": 2})
    with pytest.raises(openai.BadRequestError, match="invocation"):
        client.completions.create(model="polite", prompt="no invocation here")
    with pytest.raises(openai.BadRequestError, match="tokens are needed"):
        client.chat.completions.create(model=base, messages=CHAT, max_tokens=10**6)
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(
            model=base,
            messages=CHAT,
            response_format={"type": "json_schema", "json_schema": {"schema": {"type": "no"}}},  # type: ignore[arg-type]
        )
    assert refused.value.param == "response_format.json_schema.schema"


def test_adapters_come_and_go_while_the_server_runs(
    client: openai.OpenAI, server: tuple[str, FastAPI, LLM], folder: Path
) -> None:
    address = server[0]
    body = {"lora_name": "kind", "lora_path": str(folder / "adapters" / "polite")}
    assert httpx.post(f"{address}/v1/load_lora_adapter", json=body).status_code == 200
    asked = {"messages": CHAT, "temperature": 0, "max_tokens": 6}
    kind = client.chat.completions.create(model="kind", **asked).choices[0].message.content
    polite = client.chat.completions.create(model="polite", **asked).choices[0].message.content
    assert kind == polite
    body["lora_path"] = str(folder / "adapters" / "mood")
    assert httpx.post(f"{address}/v1/load_lora_adapter", json=body).status_code == 400
    body["load_inplace"] = True
    assert httpx.post(f"{address}/v1/load_lora_adapter", json=body).status_code == 200
    kind = client.chat.completions.create(model="kind", **asked).choices[0].message.content
    mood = client.chat.completions.create(model="mood", **asked).choices[0].message.content
    assert kind == mood
    listed = httpx.get(f"{address}/v1/adapters").json()["data"]
    assert [row["is_current"] for row in listed if row["name"] == "kind"].count(True) == 1
    gone = httpx.post(f"{address}/v1/unload_lora_adapter", json={"lora_name": "kind"})
    assert gone.status_code == 200
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model="kind", **asked)


def test_a_blend_of_one_is_that_adapter(client: openai.OpenAI, base: str) -> None:
    asked = {"messages": CHAT, "temperature": 0, "max_tokens": 6}
    alone = client.chat.completions.create(model="polite", **asked)
    blend = client.chat.completions.create(
        model=base, extra_body={"blend": {"polite": 0.5, "mood": 0.0}}, **asked
    )
    whole = client.chat.completions.create(
        model=base, extra_body={"blend": {"polite": 1.0}}, **asked
    )
    assert whole.choices[0].message.content == alone.choices[0].message.content
    assert blend.choices[0].message.content


def test_tokenize_and_back(server: tuple[str, FastAPI, LLM]) -> None:
    address, _, llm = server
    body = {"messages": CHAT, "return_token_strs": True}
    made = httpx.post(f"{address}/tokenize", json=body).json()
    assert made["tokens"] == llm.renderer.render_chat([Message("user", "hello there")])
    assert made["count"] == len(made["tokens"]) == len(made["token_strs"])
    ids = httpx.post(f"{address}/tokenize", json={"prompt": "hello there"}).json()["tokens"]
    back = httpx.post(f"{address}/detokenize", json={"tokens": ids}).json()
    assert back == {"prompt": "hello there"}


def test_a_caller_who_hangs_up_leaves_nothing_behind(
    server: tuple[str, FastAPI, LLM], base: str
) -> None:
    address, _, llm = server
    body = {"model": base, "messages": CHAT, "max_tokens": 8000, "ignore_eos": True, "stream": True}
    with httpx.stream("POST", f"{address}/v1/chat/completions", json=body, timeout=30) as answer:
        assert next(answer.iter_lines()).startswith("data:")
    plain = {**body, "stream": False}
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{address}/v1/chat/completions", json=plain, timeout=0.3)
    for _ in range(200):
        if llm.engine.is_idle:
            break
        httpx.get(f"{address}/health")
    assert llm.engine.is_idle
    assert llm.engine.blocks.num_held == 0


def test_metrics_name_the_adapter(client: openai.OpenAI, server: tuple[str, FastAPI, LLM]) -> None:
    client.chat.completions.create(model="mood", messages=CHAT, max_tokens=3)
    text = httpx.get(f"{server[0]}/metrics").text
    assert 'descant_adapter_requests_total{adapter="mood"}' in text
    for name in (
        "vllm:time_to_first_token_seconds_bucket",
        "vllm:inter_token_latency_seconds_bucket",
        "vllm:num_requests_running",
        "vllm:kv_cache_usage_perc",
        "vllm:prefix_cache_hits_total",
        "vllm:generation_tokens_total",
        "descant_adapter_loads_total",
    ):
        assert name in text
