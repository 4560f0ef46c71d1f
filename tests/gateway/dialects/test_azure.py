from __future__ import annotations

import orjson
import pytest

from descant.schema.errors import InvalidConfig, UnsupportedField

from .calls import KEY, call_of, chat, speaking


def test_a_deployment_is_in_the_path_and_the_key_in_its_own_header() -> None:
    request = speaking("azure", api_version="2024-10-21").request(chat(), "my gpt/4")
    path = "/openai/deployments/my%20gpt%2F4/chat/completions?api-version=2024-10-21"
    assert request.path == path
    assert request.headers["api-key"] == KEY
    assert "authorization" not in request.headers


def test_the_newer_surface_has_openais_paths_and_the_deployment_as_model() -> None:
    request = speaking("azure", api_version="v1").request(chat(), "deployment")
    assert request.path == "/openai/v1/chat/completions"
    assert orjson.loads(request.body)["model"] == "deployment"


def test_embeddings_and_completions_have_paths_as_well() -> None:
    dialect = speaking("azure", api_version="2024-10-21")
    for operation in ("completions", "embeddings"):
        call = call_of({"model": "m", "input": "x"}, operation)
        assert f"/openai/deployments/m/{operation}?" in dialect.request(call, "m").path


def test_the_version_must_be_said() -> None:
    with pytest.raises(InvalidConfig) as caught:
        speaking("azure")
    assert caught.value.field == "api_version"


def test_there_are_no_scores() -> None:
    with pytest.raises(UnsupportedField):
        speaking("azure", api_version="v1").request(call_of({}, "scores"), "m")


def test_what_a_content_filter_adds_to_an_answer_passes() -> None:
    body = b'{"choices": [{"content_filter_results": {}}], "prompt_filter_results": []}'
    assert speaking("azure", api_version="v1").answer(chat(), body).body is body


def test_what_a_content_filter_refuses_is_told() -> None:
    inner = {
        "code": "ResponsibleAIPolicyViolation",
        "content_filter_result": {"hate": {"filtered": True, "severity": "high", "x": [1]}},
    }
    error = {
        "message": "Filtered.",
        "code": "content_filter",
        "param": "prompt",
        "innererror": inner,
    }
    sent = speaking("azure", api_version="v1").refusal(400, {}, orjson.dumps({"error": error}))
    told = orjson.loads(sent)["error"]
    assert (told["code"], told["param"], told["message"]) == (
        "content_filter",
        "prompt",
        "Filtered.",
    )
    assert told["innererror"]["content_filter_result"] == {
        "hate": {"filtered": True, "severity": "high"}
    }
