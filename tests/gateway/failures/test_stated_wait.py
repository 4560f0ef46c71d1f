from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from descant.gateway.failures.header_text import count, http_date, number, rfc3339, span_s
from descant.gateway.failures.stated_limits import LONGEST_WAIT_S, requests_limit, tokens_limit
from descant.gateway.failures.stated_wait import stated_wait_s

NOW = datetime(2026, 11, 22, 3, 42, 13, tzinfo=UTC)
NAMES = [
    "retry-after-ms",
    "retry-after",
    "date",
    *(
        f"x-ratelimit-{part}-{kind}"
        for part in ("limit", "remaining", "reset")
        for kind in ("requests", "tokens")
    ),
    *(
        f"anthropic-ratelimit-{kind}-{part}"
        for part in ("limit", "remaining", "reset")
        for kind in ("requests", "tokens", "input-tokens", "output-tokens")
    ),
]


def http(moment: datetime) -> str:
    return moment.strftime("%a, %d %b %Y %H:%M:%S GMT")


ALL = {
    "retry-after-ms": "250",
    "retry-after": "3",
    "x-ratelimit-reset-requests": "1s",
    "x-ratelimit-reset-tokens": "6m0s",
}


@pytest.mark.parametrize(
    ("absent", "wait_s"),
    [(0, 0.25), (1, 3.0), (2, 1.0), (3, 360.0), (4, None)],
)
def test_the_finest_header_counts_first(absent: int, wait_s: float | None) -> None:
    headers = dict(list(ALL.items())[absent:])
    assert stated_wait_s(429, headers, NOW) == wait_s


@pytest.mark.parametrize(
    "nonsense", ["", "-1", "nan", "inf", "1e999", "1_0", "٣", "9999999999", "x"]
)
@pytest.mark.parametrize("name", list(ALL))
def test_nonsense_is_passed_over(name: str, nonsense: str) -> None:
    rest = {key: value for key, value in ALL.items() if key != name}
    expected = stated_wait_s(429, rest, NOW)
    assert stated_wait_s(429, {**ALL, name: nonsense}, NOW) == expected
    assert stated_wait_s(429, {name: nonsense}, NOW) is None


def test_a_date_is_measured_by_the_clock_that_wrote_it() -> None:
    theirs = NOW - timedelta(hours=5)
    headers = {"retry-after": http(theirs + timedelta(seconds=30)), "date": http(theirs)}
    assert stated_wait_s(503, headers, NOW) == 30
    del headers["date"]
    assert stated_wait_s(503, headers, NOW) is None, "five hours ago by our clock"
    assert stated_wait_s(503, {"retry-after": http(NOW + timedelta(seconds=7))}, NOW) == 7


def test_resets_speak_of_limits_only_where_one_was_met() -> None:
    resets = {"x-ratelimit-reset-requests": "1s", "x-ratelimit-reset-tokens": "6m0s"}
    assert stated_wait_s(200, {"retry-after": "5", **resets}, NOW) is None
    assert stated_wait_s(500, resets, NOW) is None
    assert stated_wait_s(500, {"retry-after": "5", **resets}, NOW) == 5


def test_a_limit_with_something_left_was_not_the_one_that_was_met() -> None:
    headers = {
        "x-ratelimit-remaining-requests": "499",
        "x-ratelimit-reset-requests": "120ms",
        "x-ratelimit-remaining-tokens": "0",
        "x-ratelimit-reset-tokens": "41.5s",
    }
    assert stated_wait_s(429, headers, NOW) == 41.5
    headers["x-ratelimit-remaining-requests"] = "0"
    assert stated_wait_s(429, headers, NOW) == 0.12


def test_anthropic_says_a_moment() -> None:
    headers = {
        "anthropic-ratelimit-requests-remaining": "12",
        "anthropic-ratelimit-requests-reset": "2026-11-22T03:42:14Z",
        "anthropic-ratelimit-input-tokens-remaining": "9000",
        "anthropic-ratelimit-input-tokens-reset": "2026-11-22T03:42:20Z",
        "anthropic-ratelimit-output-tokens-remaining": "0",
        "anthropic-ratelimit-output-tokens-reset": "2026-11-22T05:43:13+02:00",
    }
    assert stated_wait_s(429, headers, NOW) == 60
    assert stated_wait_s(429, {**headers, "date": http(NOW + timedelta(seconds=20))}, NOW) == 40


def test_a_day_is_the_longest_and_a_unix_time_is_no_wait() -> None:
    assert stated_wait_s(429, {"retry-after": "172800"}, NOW) == LONGEST_WAIT_S
    assert stated_wait_s(429, {"retry-after": "1795318933"}, NOW) is None


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("6m0s", 360.0),
        ("1s", 1.0),
        ("120ms", 0.12),
        ("1h2m3.5s", 3723.5),
        ("2m59.56s", 179.56),
        ("1d", 86400.0),
        ("17", 17.0),
        (" 5s ", 5.0),
        ("5s!", None),
        ("s", None),
        ("1s2", None),
        ("-1s", None),
    ],
)
def test_spans(text: str, seconds: float | None) -> None:
    assert span_s(text) == (seconds if seconds is None else pytest.approx(seconds))


def test_no_zone_no_moment() -> None:
    assert rfc3339("2026-11-22T03:42:13") is None
    assert rfc3339("2026-11-22T03:42:13Z") == NOW
    assert http_date("Sun, 31 Feb 2026 03:42:13 GMT") is None


@given(st.integers(0, 4_000_000_000))
def test_dates_are_read_as_written(unix_s: int) -> None:
    moment = datetime.fromtimestamp(unix_s, UTC)
    assert http_date(http(moment)) == moment
    assert rfc3339(moment.isoformat()) == moment


ZONES = [None, UTC, timezone(timedelta(hours=23, minutes=59)), timezone(-timedelta(hours=12))]
ANY_TEXT = st.one_of(
    st.text(max_size=100),
    # What a header's other bytes become.
    st.binary(max_size=100).map(lambda raw: raw.decode("utf-8", "surrogateescape")),
    st.text("0123456789.-+eEnaifmshdTZ:µ _,GMT", max_size=40),
    st.from_regex(r"[0-9]{1,40}(ms|s|m|h|d)?", fullmatch=True),
    st.datetimes(timezones=st.sampled_from(ZONES)).map(datetime.isoformat),
    st.datetimes().map(http),
)


@given(
    st.sampled_from([200, 301, 400, 429, 500, 503]),
    st.dictionaries(st.sampled_from(NAMES), ANY_TEXT),
)
def test_no_bytes_make_it_raise_or_wait_out_of_bounds(status: int, headers: dict[str, str]) -> None:
    wait_s = stated_wait_s(status, headers, NOW)
    assert wait_s is None or 0 <= wait_s <= LONGEST_WAIT_S
    for stated in (requests_limit(headers, NOW), tokens_limit(headers, NOW)):
        if stated is not None:
            assert stated.limit is None or stated.limit > 0
            assert stated.remaining is None or stated.remaining >= 0
            assert stated.reset_s is None or 0 <= stated.reset_s <= LONGEST_WAIT_S


@given(ANY_TEXT)
def test_no_text_makes_a_reader_raise(text: str) -> None:
    for read in (number, count, span_s):
        value = read(text)
        assert value is None or (math.isfinite(value) and value >= 0)
    http_date(text)
    rfc3339(text)


def test_the_scarcest_kind_of_token_counts() -> None:
    headers = {
        "anthropic-ratelimit-tokens-limit": "50000",
        "anthropic-ratelimit-tokens-remaining": "40000",
        "anthropic-ratelimit-output-tokens-limit": "8000",
        "anthropic-ratelimit-output-tokens-remaining": "100",
    }
    stated = tokens_limit(headers, NOW)
    assert stated is not None
    assert (stated.limit, stated.remaining) == (8000, 100)
    assert requests_limit(headers, NOW) is None


def test_a_limit_of_nothing_is_no_limit() -> None:
    assert requests_limit({"x-ratelimit-limit-requests": "0"}, NOW) is None
    assert requests_limit({"x-ratelimit-limit-requests": "-1"}, NOW) is None
