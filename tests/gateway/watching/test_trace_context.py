"""`traceparent` in and out, by W3C's grammar."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.trace import get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from descant.gateway.watching import TraceContext, read_trace_context

GOOD = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def test_a_trace_is_read_and_told_as_it_came() -> None:
    headers = {"traceparent": GOOD, "tracestate": "rojo=00f067aa0ba902b7,congo=t61"}
    context = read_trace_context(headers)
    assert context is not None
    assert context.trace_id == 0x0AF7651916CD43DD8448EB211C80319C
    assert context.is_sampled
    assert context.headers() == headers


@pytest.mark.parametrize(
    "wrong",
    [
        "",
        GOOD[:-1],
        GOOD.upper(),
        GOOD.replace("00-", "ff-", 1),
        GOOD + "-more",
        GOOD + "\r\nx: y",
        "00-" + "0" * 32 + "-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-" + "0" * 16 + "-01",
        GOOD.replace("0af", "０af"),
        GOOD.replace("-", "_"),
    ],
)
def test_what_is_no_trace_is_none(wrong: str) -> None:
    assert read_trace_context({"traceparent": wrong}) is None


def test_a_later_version_is_read_as_far_as_it_is_known() -> None:
    later = GOOD.replace("00-", "01-", 1)
    context = read_trace_context({"traceparent": later + "-more"})
    assert context is not None
    assert context.headers() == {"traceparent": GOOD}
    assert read_trace_context({"traceparent": later + "more"}) is None


@pytest.mark.parametrize("state", ["a=b\r\nx: y", "ü=1", "a=" + "b" * 600])
def test_a_state_that_could_not_be_sent_is_dropped_and_the_trace_kept(state: str) -> None:
    context = read_trace_context({"traceparent": GOOD, "tracestate": state})
    assert context is not None
    assert context.headers() == {"traceparent": GOOD}


def test_no_headers_no_trace() -> None:
    assert read_trace_context({}) is None


traces = st.builds(
    TraceContext, st.integers(1, 2**128 - 1), st.integers(1, 2**64 - 1), st.booleans()
)


@given(traces)
def test_what_is_told_is_read_again_here_and_by_opentelemetry(context: TraceContext) -> None:
    """The slow twin is the propagator of OpenTelemetry's API."""
    told = context.headers()
    assert read_trace_context(told) == context
    theirs = get_current_span(TraceContextTextMapPropagator().extract(told)).get_span_context()
    assert (theirs.trace_id, theirs.span_id) == (context.trace_id, context.span_id)
    assert theirs.trace_flags.sampled == context.is_sampled


@given(st.text(alphabet="0123456789abcdef-gF", max_size=60) | st.text(max_size=60))
def test_nothing_that_is_sent_breaks_it(value: str) -> None:
    context = read_trace_context({"traceparent": value, "tracestate": value})
    assert context is None or read_trace_context(context.headers()) == context
