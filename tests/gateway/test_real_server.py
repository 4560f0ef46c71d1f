"""The openai package → ``descant gateway`` → ``descant serve``, each a process of its own."""

from __future__ import annotations

import io
import json
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from tests.gateway.gateway_process import gateway_process
from tests.gateway.running import KEY, SECRET, read_lines
from tests.server.process import serving
from tests.server.served import serve_tiny

CHAT: Any = [{"role": "user", "content": "hello there"}]
CONVERSATION = {"turns": [{"speaker": "agent", "text": "Good morning, how can I help?"}]}
SCORECARD = {"conversation": CONVERSATION, "indicators": ["polite", "mood"]}
OTHER = "456"
OTHER_KEY = "b3a8e0e1f9ab1bfe3a36f231f676f78bb30a519d2b21e6c530c0eee8ebb4a5d0"
ENDED = {"completed", "failed", "expired", "cancelled"}


@dataclass(frozen=True)
class Chain:
    """A gateway's address, that of the server behind it, and the books."""

    gateway: str
    server: str
    ledger: Path

    def client(self, secret: str = SECRET) -> openai.OpenAI:
        return openai.OpenAI(base_url=f"{self.gateway}/v1", api_key=secret, max_retries=0)

    def direct(self) -> openai.OpenAI:
        return openai.OpenAI(base_url=f"{self.server}/v1", api_key="none", max_retries=0)


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chain]:
    folder = tmp_path_factory.mktemp("chain")
    serve_tiny(folder)
    with serving(folder, "--batches", str(folder / "batches")) as server:
        file = folder / "gateway.toml"
        file.write_text(
            f'[upstreams.own]\nurl = "{server.address}"\ndialect = "descant"\nread_price = 2.0\n'
            '[routes."*"]\nupstreams = ["own"]\n'
            f'[keys.team]\nsha256 = "{KEY}"\ntenant = "quality"\n'
            f'[keys.other]\nsha256 = "{OTHER_KEY}"\nmodels = ["polite"]\n'
            '[batches]\nupstream = "own"\nsecret_env = "TAGS"\nprice_share = 0.5\n'
            f'[state]\nledger = "{folder}/usage.sqlite"\n'
        )
        with gateway_process(file, TAGS="s" * 40) as gateway:
            made = Chain(gateway, server.address, folder / "usage.sqlite")
            read_prompts(made)
            yield made


def read_prompts(chain: Chain) -> None:
    """Let the server keep what it reads of each prompt.

    In bfloat16 a random model has near ties, and a prompt read whole may break them otherwise than one
    that was read before: what is compared is read from the same cache.
    """
    for model in ("tiny", "polite", "mood") * 2:
        chain.direct().chat.completions.create(model=model, messages=CHAT, max_tokens=1)
        httpx.post(f"{chain.server}/v1/scores", json=SCORECARD).raise_for_status()


def listed(client: openai.OpenAI) -> dict[str, Any]:
    """The gateway asks the server for its models beside requests: wait until it has."""
    for _ in range(200):
        if found := {model.id: model for model in client.models.list()}:
            return found
        time.sleep(0.05)
    raise AssertionError("no models")


def test_models_are_those_the_server_lists(chain: Chain) -> None:
    found = listed(chain.client())
    assert set(found) == {"tiny", "polite", "mood"}
    assert found["polite"].parent == "tiny"
    assert chain.client().models.retrieve("mood").id == "mood"
    assert {model.id for model in chain.client(OTHER).models.list()} == {"polite"}
    with pytest.raises(openai.NotFoundError):
        chain.client(OTHER).models.retrieve("mood")


@pytest.mark.parametrize("model", ["tiny", "polite"])
def test_a_chat_is_the_server_s_own(chain: Chain, model: str) -> None:
    asked: dict[str, Any] = {"model": model, "messages": CHAT, "temperature": 0, "max_tokens": 8}
    through = chain.client().chat.completions.create(**asked)
    direct = chain.direct().chat.completions.create(**asked)
    assert through.choices == direct.choices
    assert through.model == model
    assert through.usage is not None
    assert through.usage.completion_tokens == direct.usage.completion_tokens


def test_a_stream_is_the_same_text_and_tells_its_usage_once(chain: Chain) -> None:
    asked: dict[str, Any] = {"model": "mood", "messages": CHAT, "temperature": 0, "max_tokens": 8}
    whole = chain.client().chat.completions.create(**asked)
    chunks = list(
        chain.client().chat.completions.create(
            **asked, stream=True, stream_options={"include_usage": True}
        )
    )
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text == whole.choices[0].message.content
    assert [chunk.usage.completion_tokens for chunk in chunks if chunk.usage] == [
        whole.usage.completion_tokens
    ]


def test_a_scorecard_of_two_adapters_is_the_server_s_own(chain: Chain) -> None:
    headers = {"authorization": f"Bearer {SECRET}"}
    through = httpx.post(f"{chain.gateway}/v1/scores", json=SCORECARD, headers=headers).json()
    direct = httpx.post(f"{chain.server}/v1/scores", json=SCORECARD).json()
    assert through["answers"] == direct["answers"]
    assert {answer["indicator"] for answer in through["answers"]} == {"polite", "mood"}
    refused = httpx.post(
        f"{chain.gateway}/v1/scores", json=SCORECARD, headers={"authorization": f"Bearer {OTHER}"}
    )
    assert refused.status_code == 404


def test_a_mistake_is_the_openai_package_s_own_exception(chain: Chain) -> None:
    with pytest.raises(openai.BadRequestError):
        chain.client().chat.completions.create(model="tiny", messages=[])
    with pytest.raises(openai.AuthenticationError):
        chain.client("wrong").chat.completions.create(model="tiny", messages=CHAT)


def batch_file(*models: str) -> io.BytesIO:
    lines = [
        {
            "custom_id": f"r{number}",
            "method": "POST",
            "url": "/v1/chat/completions",
            "body": {"model": model, "messages": CHAT, "max_tokens": 4, "temperature": 0},
        }
        for number, model in enumerate(models)
    ]
    file = io.BytesIO("".join(json.dumps(line) + "\n" for line in lines).encode())
    file.name = "questions.jsonl"
    return file


def test_a_batch_from_its_upload_to_its_line_in_the_books(chain: Chain) -> None:
    client, other = chain.client(), chain.client(OTHER)
    file = client.files.create(file=batch_file("tiny", "polite", "polite"), purpose="batch")
    assert file.filename == "questions.jsonl"
    batch = client.batches.create(
        input_file_id=file.id,
        endpoint="/v1/chat/completions",
        completion_window="24h",
        metadata={"night": "1"},
    )
    assert batch.input_file_id == file.id
    for _ in range(400):
        if (batch := client.batches.retrieve(batch.id)).status in ENDED:
            break
        time.sleep(0.05)
    assert (batch.status, batch.metadata) == ("completed", {"night": "1"})
    assert batch.output_file_id is not None

    for stranger in (
        lambda: other.files.retrieve(file.id),
        lambda: other.files.content(batch.output_file_id),
        lambda: other.files.delete(file.id),
        lambda: other.batches.retrieve(batch.id),
        lambda: other.batches.cancel(batch.id),
        lambda: other.batches.create(
            input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
        ),
        lambda: client.files.retrieve(file.id.rpartition("-")[0]),
        lambda: client.batches.retrieve(batch.id.rpartition("-")[0]),
    ):
        with pytest.raises(openai.NotFoundError):
            stranger()
    assert [each.id for each in client.batches.list(limit=1)] == [batch.id]
    assert [each.id for each in client.files.list()] == [file.id]
    assert not list(other.batches.list()) and not list(other.files.list())

    first = client.files.content(batch.output_file_id).text
    assert client.files.content(batch.output_file_id).text == first
    bodies = [json.loads(line)["response"]["body"] for line in first.splitlines()]
    lines: list[dict[str, Any]] = []
    while len(lines) < 2:
        time.sleep(0.1)
        lines = [line for line in read_lines(chain.ledger) if line["operation"] == "batches"]
    for model in ("tiny", "polite"):
        [line] = [line for line in lines if line["model"] == model]
        prompts = sum(b["usage"]["prompt_tokens"] for b in bodies if b["model"] == model)
        assert (line["tenant"], line["prompt_tokens"]) == ("quality", prompts)
        assert line["money_nano"] > 0

    with pytest.raises(openai.ConflictError):
        client.batches.cancel(batch.id)
    assert client.files.delete(file.id).deleted
    with pytest.raises(openai.NotFoundError):
        client.files.retrieve(file.id)


def test_a_file_may_not_ask_for_a_model_that_its_key_may_not_use(chain: Chain) -> None:
    def names() -> list[str]:
        return [card["filename"] for card in httpx.get(f"{chain.server}/v1/files").json()["data"]]

    before = names()
    with pytest.raises(openai.BadRequestError, match="Line 2: No model 'mood'"):
        chain.client(OTHER).files.create(file=batch_file("polite", "mood"), purpose="batch")
    chain.client(OTHER).files.create(file=batch_file("polite"), purpose="batch")
    assert len(names()) == len(before) + 1
    assert all(re.fullmatch("([0-9a-f]{32}[.])questions.jsonl|batch_.*", name) for name in names())


def test_a_schema_and_a_tool_pass_as_they_are(chain: Chain) -> None:
    schema = {
        "type": "object",
        "properties": {"mood": {"enum": ["bad", "good"]}},
        "required": ["mood"],
        "additionalProperties": False,
    }
    asked: dict[str, Any] = {"model": "polite", "messages": CHAT, "temperature": 0}
    shaped = chain.client().chat.completions.create(
        **asked,
        max_tokens=60,
        response_format={"type": "json_schema", "json_schema": {"name": "m", "schema": schema}},
    )
    assert json.loads(shaped.choices[0].message.content)["mood"] in ("bad", "good")
    tool = {"type": "function", "function": {"name": "note", "parameters": schema}}
    called = chain.client().chat.completions.create(
        **asked, max_tokens=80, tools=[tool], tool_choice="required"
    )
    [call] = called.choices[0].message.tool_calls
    assert call.function.name == "note"
    assert json.loads(call.function.arguments)["mood"] in ("bad", "good")
