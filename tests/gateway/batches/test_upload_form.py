"""Forms that are read and written anew, in whatever pieces they come."""

from __future__ import annotations

import json
from email.message import Message
from email.parser import BytesParser
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from descant.gateway.batches.line_check import LineCheck
from descant.gateway.batches.upload_form import UploadForm
from descant.gateway.call import Caller
from descant.schema.errors import InputError

TYPE = "multipart/form-data; boundary=XX"
MARK = "0" * 32


def request_line(number: int = 0, **changes: Any) -> dict[str, Any]:
    body = {"model": "polite", "messages": []}
    url = "/v1/chat/completions"
    return {"custom_id": f"r{number}", "method": "POST", "url": url, "body": body} | changes


def jsonl(*lines: dict[str, Any]) -> bytes:
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


def part(name: str, value: bytes, filename: str | None = None) -> bytes:
    more = "" if filename is None else f'; filename="{filename}"'
    head = f'--XX\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n'
    return head.encode() + value + b"\r\n"


END = b"--XX--\r\n"
PURPOSE = part("purpose", b"batch")
FILE = part("file", jsonl(request_line(0), request_line(1)), "in.jsonl")


def form(models: tuple[str, ...] = ("*",), most_line_bytes: int = 10_000) -> UploadForm:
    caller = Caller("team", "quality", models)
    return UploadForm(TYPE, MARK, LineCheck(caller, {"polite": "gpt"}, most_line_bytes))


def sent(upload: UploadForm, *pieces: bytes) -> bytes:
    return b"".join(map(upload.feed, pieces)) + upload.finish()


def parts_of(upload: UploadForm, data: bytes) -> dict[str, Message]:
    """Read a form with the standard library."""
    head = f"content-type: multipart/form-data; boundary={upload.boundary}\r\n\r\n".encode()
    message = BytesParser().parsebytes(head + data)
    assert message.is_multipart()
    return {
        str(each.get_param("name", header="content-disposition")): each
        for each in message.get_payload()
    }


@pytest.mark.parametrize("body", [PURPOSE + FILE, FILE + PURPOSE])
def test_the_upstream_gets_a_marked_file_with_its_own_names(body: bytes) -> None:
    upload = form()
    parts = parts_of(upload, sent(upload, body + part("expires_after[seconds]", b"3600") + END))
    assert list(parts) == ["purpose", "file", "expires_after[seconds]"]
    assert parts["file"].get_filename() == f"{MARK}.in.jsonl"
    lines = [json.loads(line) for line in str(parts["file"].get_payload()).splitlines()]
    assert [line["body"]["model"] for line in lines] == ["gpt", "gpt"]
    assert [line["custom_id"] for line in lines] == ["r0", "r1"]


@settings(max_examples=50)
@given(st.lists(st.integers(0, len(PURPOSE + FILE + END)), max_size=8))
def test_pieces_do_not_matter(cuts: list[int]) -> None:
    body = PURPOSE + FILE + END
    places = [0, *sorted(cuts), len(body)]
    pieces = [body[a:b] for a, b in zip(places, places[1:], strict=False)]
    whole, cut = form(), form()
    expected = sent(whole, body).replace(whole.boundary.encode(), b"")
    assert sent(cut, *pieces).replace(cut.boundary.encode(), b"") == expected


@pytest.mark.parametrize(
    "body",
    [
        b"",
        PURPOSE + FILE,
        PURPOSE + END,
        FILE + END,
        part("purpose", b"fine-tune") + FILE + END,
        PURPOSE + FILE + FILE + END,
        PURPOSE + FILE + part("owner", b"me") + END,
        PURPOSE + FILE + part("purpose", b"x" * 2000) + END,
        PURPOSE + part("file", b"", "in.jsonl") + END,
        PURPOSE + part("file", b"\n\n", "in.jsonl") + END,
        b"--XX\r\n" + b"x: " + b"y" * 9000 + b"\r\n\r\n",
        b"no form at all",
    ],
)
def test_a_wrong_form(body: bytes) -> None:
    with pytest.raises(InputError):
        sent(form(), body)


@pytest.mark.parametrize("kind", ["", "application/json", "multipart/form-data", "\xff"])
def test_a_content_type_that_is_no_form(kind: str) -> None:
    with pytest.raises(InputError):
        UploadForm(kind, MARK, LineCheck(Caller("team", "quality"), {}, 100))


@pytest.mark.parametrize(
    "line",
    [
        request_line(body={"model": "closed", "messages": []}),
        request_line(body={"model": 3}),
        request_line(body={"messages": []}),
        request_line(body=[]),
        request_line(method="GET"),
        request_line(url="/v1/files"),
        request_line(url=["/v1/chat/completions"]),
        request_line(body={"model": "polite", "Model": "closed"}),
        request_line(url="/v1/scores", body={"conversation": {}}),
        request_line(url="/v1/scores", body={"conversation": {}, "indicators": ["closed"]}),
        {**request_line(), "more": 1},
        {"custom_id": "r0"},
    ],
)
def test_a_line_that_the_caller_might_not_send_alone(line: dict[str, Any]) -> None:
    body = PURPOSE + part("file", jsonl(request_line(), line), "in.jsonl") + END
    with pytest.raises(InputError, match="Line 2"):
        sent(form(("polite",)), body)


def test_of_two_models_in_one_line_the_upstream_reads_the_one_that_was_checked() -> None:
    line = jsonl(request_line()).replace(b'"model": "polite"', b'"model":"closed","model":"polite"')
    data = LineCheck(Caller("team", "quality", ("polite",)), {}, 1000).feed(line)
    assert data.count(b'"model"') == 1
    assert json.loads(data) == request_line()


def test_a_scorecard_loses_the_model_that_only_the_gateway_knows() -> None:
    body = {"model": "x", "conversation": {}, "indicators": ["polite"]}
    line = jsonl(request_line(url="/v1/scores", body=body))
    data = LineCheck(Caller("team", "quality", ("polite",)), {}, 1000).feed(line)
    assert json.loads(data)["body"] == {"conversation": {}, "indicators": ["polite"]}


def test_a_line_that_does_not_end() -> None:
    check = LineCheck(Caller("team", "quality"), {}, 100)
    with pytest.raises(InputError, match="more than 100 bytes"):
        for _ in range(11):
            check.feed(b"x" * 10)


@pytest.mark.parametrize("name", ['a"b.jsonl', "a\r\nb.jsonl", "ü.jsonl", "", "x" * 400 + ".jsonl"])
def test_a_file_s_name_cannot_change_the_form(name: str) -> None:
    upload = form()
    disposition = name.replace('"', '\\"').replace("\r\n", "%0D%0A")
    body = PURPOSE + part("file", jsonl(request_line()), disposition) + END
    shown = parts_of(upload, sent(upload, body))["file"].get_filename()
    assert shown is not None
    assert shown.startswith(f"{MARK}.")
    assert shown.endswith(".jsonl")
