"""Spans as a collector gets them: what they say, what they never say, and of whom there are any."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import get_args

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.semconv._incubating.attributes import gen_ai_attributes
from opentelemetry.trace import SpanKind, StatusCode

from descant.gateway import Operation, Usage
from descant.gateway.config import DialectName
from descant.gateway.watching import (
    AttemptEnd,
    AttemptStart,
    OpenTelemetry,
    PassedOn,
    RequestStart,
    TraceContext,
    TracingConfig,
    genai_names,
    open_tracing,
    read_trace_context,
)
from descant.schema.errors import MissingDependency

SECRET = "my card is 4111 1111 1111 1111"
PARENT = TraceContext(0xABC << 64 | 1, 0xDEF, is_sampled=True, state="a=b")


@dataclass
class Recorded:
    """A tracing whose spans are kept."""

    config: TracingConfig = field(default_factory=lambda: TracingConfig(share=1.0))
    draw: float = 0.5

    def __post_init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        ticks = iter(range(1000, 100_000, 1000))
        self.tracing = OpenTelemetry(
            self.config,
            SimpleSpanProcessor(self.exporter),
            "worker-0",
            draw=lambda: self.draw,
            clock_ns=ticks.__next__,
        )

    @property
    def spans(self) -> tuple[ReadableSpan, ...]:
        return self.exporter.get_finished_spans()


def start(parent: TraceContext | None = None) -> RequestStart:
    return RequestStart("req-1", "chat", "/v1/chat/completions", "quality", parent)


ATTEMPT = AttemptStart("chat", "azure", "hosted", "gpt-5-mini", "api.example", 443, 2, 100, True)
ANSWER = AttemptEnd(200, None, Usage(10, 3, 4), "gpt-5-mini-2026", ("stop",), 0.25)


def attributes(span: ReadableSpan) -> dict[str, object]:
    return dict(span.attributes or {})


def test_a_request_and_its_attempts_are_one_tree_with_the_names_of_the_conventions() -> None:
    recorded = Recorded()
    request = recorded.tracing.begin(start(PARENT))
    first = request.attempt(ATTEMPT)
    first.end(AttemptEnd(429, "rate_limit_exceeded"))
    second = request.attempt(ATTEMPT)
    second.end(ANSWER)
    request.end(200)
    failed, answered, whole = recorded.spans
    assert whole.name == "POST /v1/chat/completions"
    assert whole.kind is SpanKind.SERVER
    assert whole.parent is not None
    assert whole.parent.span_id == PARENT.span_id
    assert attributes(whole) == {
        "descant.request.id": "req-1",
        "descant.tenant": "quality",
        "http.route": "/v1/chat/completions",
        "http.response.status_code": 200,
    }
    for span in (failed, answered):
        assert span.name == "chat gpt-5-mini"
        assert span.kind is SpanKind.CLIENT
        assert span.parent is not None
        assert span.parent.span_id == whole.context.span_id
        assert span.context.trace_id == PARENT.trace_id
    assert attributes(answered) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "azure.ai.openai",
        "gen_ai.request.model": "gpt-5-mini",
        "gen_ai.request.stream": True,
        "gen_ai.request.max_tokens": 100,
        "gen_ai.response.model": "gpt-5-mini-2026",
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.response.time_to_first_chunk": 0.25,
        "gen_ai.usage.input_tokens": 10,
        "gen_ai.usage.output_tokens": 3,
        "gen_ai.usage.cache_read.input_tokens": 4,
        "descant.upstream": "hosted",
        "descant.attempt": 2,
        "server.address": "api.example",
        "server.port": 443,
        "http.response.status_code": 200,
    }
    assert attributes(failed)["error.type"] == "rate_limit_exceeded"
    assert failed.status.status_code is StatusCode.ERROR
    assert answered.status.status_code is StatusCode.UNSET
    assert whole.start_time is not None
    assert whole.end_time is not None
    assert failed.start_time is not None
    assert whole.start_time < failed.start_time < whole.end_time
    assert whole.resource.attributes["service.instance.id"] == "worker-0"


def test_an_upstream_is_told_the_span_that_asks_it() -> None:
    recorded = Recorded()
    request = recorded.tracing.begin(start(PARENT))
    attempt = request.attempt(ATTEMPT)
    told = read_trace_context(attempt.headers)
    attempt.end(ANSWER)
    request.end(200)
    span = recorded.spans[0]
    assert told == TraceContext(PARENT.trace_id, span.context.span_id, True, "a=b")


def test_no_trace_begins_one() -> None:
    recorded = Recorded()
    recorded.tracing.begin(start()).end(503, "too_busy")
    [span] = recorded.spans
    assert span.parent is None
    assert attributes(span)["error.type"] == "too_busy"


def test_what_was_said_is_nowhere_even_where_others_send_it_as_a_name() -> None:
    recorded = Recorded()
    request = recorded.tracing.begin(RequestStart(SECRET, "chat", "/v1/chat/completions", "t"))
    attempt = request.attempt(AttemptStart("chat", "openai", "own", SECRET, "127.0.0.1", 1))
    attempt.end(AttemptEnd(200, SECRET, None, SECRET, (SECRET, "stop") * 20, None))
    request.end(500, SECRET)
    for span in recorded.spans:
        assert SECRET not in span.to_json()
        assert not span.events
    assert attributes(recorded.spans[0])["gen_ai.response.finish_reasons"] == ("other", "stop") * 4


@pytest.mark.parametrize(("draw", "spans"), [(0.29, 1), (0.31, 0)])
def test_a_share_of_requests_without_a_trace_has_spans(draw: float, spans: int) -> None:
    recorded = Recorded(TracingConfig(share=0.3), draw)
    recorded.tracing.begin(start()).end(200)
    assert len(recorded.spans) == spans


def test_a_trace_is_chosen_by_its_id_the_same_everywhere() -> None:
    recorded = Recorded(TracingConfig(share=0.25))
    for part in range(8):
        trace_id = (1 << 100) | (part << 53)
        recorded.tracing.begin(start(TraceContext(trace_id, 1, is_sampled=True))).end(200)
    chosen = [(span.context.trace_id >> 53) & 7 for span in recorded.spans]
    assert chosen == [0, 1]


@pytest.mark.parametrize(("follow", "spans"), [(True, 1), (False, 0)])
def test_callers_may_choose_only_where_they_are_followed(follow: bool, spans: int) -> None:
    recorded = Recorded(TracingConfig(share=0.0, follow_callers=follow))
    recorded.tracing.begin(start(PARENT)).end(200)
    assert len(recorded.spans) == spans


def test_requests_without_spans_pass_their_trace_on_as_it_came() -> None:
    for tracing in (PassedOn(), Recorded(TracingConfig(share=0.0)).tracing):
        attempt = tracing.begin(start(PARENT)).attempt(ATTEMPT)
        assert read_trace_context(attempt.headers) == PARENT
        assert tracing.begin(start()).attempt(ATTEMPT).headers == {}
        attempt.end(ANSWER)
        tracing.close()


def test_the_names_are_those_of_the_conventions() -> None:
    theirs = {
        value
        for name, value in vars(gen_ai_attributes).items()
        if name.startswith("GEN_AI_") and isinstance(value, str)
    }
    ours = {
        value
        for value in vars(genai_names).values()
        if isinstance(value, str) and value.startswith("gen_ai.")
    }
    assert len(ours) >= 11
    assert ours <= theirs


def test_every_dialect_and_operation_has_a_name() -> None:
    assert set(genai_names.PROVIDERS) == set(get_args(DialectName))
    assert set(genai_names.OPERATIONS) == set(get_args(Operation))


@contextmanager
def collector() -> Iterator[tuple[str, list[ExportTraceServiceRequest]]]:
    """A collector on a free port, and what it was sent."""
    received: list[ExportTraceServiceRequest] = []

    class Answer(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            import gzip

            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            received.append(ExportTraceServiceRequest.FromString(body))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1/traces", received
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_real_collector_gets_what_was_recorded_when_it_is_closed() -> None:
    with collector() as (endpoint, received):
        tracing = open_tracing(TracingConfig(endpoint, share=1.0, service="gate"), "worker-1")
        request = tracing.begin(start())
        request.attempt(ATTEMPT).end(ANSWER)
        request.end(200)
        tracing.close()
    [batch] = received
    [resource] = batch.resource_spans
    told = {pair.key: pair.value.string_value for pair in resource.resource.attributes}
    assert told["service.name"] == "gate"
    assert [span.name for span in resource.scope_spans[0].spans] == [
        "chat gpt-5-mini",
        "POST /v1/chat/completions",
    ]


def test_without_the_sdk_an_endpoint_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace.export", None)
    with pytest.raises(MissingDependency, match="descant\\[tracing\\]"):
        open_tracing(TracingConfig("http://127.0.0.1:9/v1/traces"), "worker-0")


def test_without_an_endpoint_nothing_is_imported() -> None:
    program = (
        "import sys; from descant.gateway.watching import *; "
        "assert isinstance(open_tracing(TracingConfig(), 'w'), PassedOn); "
        "print(*sorted({'torch', 'numpy', 'scipy', 'opentelemetry.sdk', 'fastapi'} & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)
    assert found.stdout.decode().strip() == ""
