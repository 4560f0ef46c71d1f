from __future__ import annotations

import io
import json
import logging
import threading
from datetime import UTC, datetime

import pytest

from descant.monitoring import RequestLog, RequestRecord

RECORD = RequestRecord("r-1", "/v1/scores", 200, 0.1234567891, tokens_read=12, tokens_shared=30)


def clock() -> datetime:
    return datetime(2031, 5, 6, tzinfo=UTC)


def test_a_record_is_one_json_line() -> None:
    stream = io.StringIO()
    log = RequestLog(stream, clock)
    log.write(RECORD)
    log.write(RequestRecord("r-2\n", "/health", 500, 0.0, error="internal_error"))
    first, second = stream.getvalue().splitlines()
    assert json.loads(first) == {
        "time": "2031-05-06T00:00:00+00:00",
        "id": "r-1",
        "route": "/v1/scores",
        "status": 200,
        "time_s": 0.123457,
        "tokens_read": 12,
        "tokens_shared": 30,
    }
    assert json.loads(second)["error"] == "internal_error"


def test_lines_of_several_threads_stay_whole() -> None:
    stream = io.StringIO()
    log = RequestLog(stream, clock)

    def write_many() -> None:
        for _ in range(50):
            log.write(RECORD)

    threads = [threading.Thread(target=write_many) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {json.loads(line)["id"] for line in stream.getvalue().splitlines()} == {"r-1"}
    assert stream.getvalue().count("\n") == 200


def test_a_log_that_cannot_be_written_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    class FullDisk(io.StringIO):
        def write(self, text: str, /) -> int:
            raise OSError(28, "No space left on device")

    closed = io.StringIO()
    closed.close()
    with caplog.at_level(logging.WARNING):
        RequestLog(FullDisk(), clock).write(RECORD)
        RequestLog(closed, clock).write(RECORD)
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]
    assert "No space left" in caplog.text
