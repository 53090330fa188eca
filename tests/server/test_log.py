"""Log lines: one safe line each, and never in anybody's way."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import time
from collections.abc import Iterator

import pytest

from quintet.log import LineWriter, Logger, LoggingBridge

HOSTILE = 'a\r\nb\x1b[31m\x9b31m\u2028"} é'


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    read, write = os.pipe()
    fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, 4096)
    yield read, write
    os.close(read)
    os.close(write)


@pytest.mark.parametrize("line_format", ["json", "text"])
def test_hostile_values_stay_on_one_line(pipe: tuple[int, int], line_format: str) -> None:
    read, write = pipe
    writer = LineWriter(write)
    Logger(writer, "info", "json" if line_format == "json" else "text").log("info", "request", path=HOSTILE)
    assert writer.flush()
    text = os.read(read, 4096).decode("ascii")
    assert text.endswith("\n")
    assert text[:-1].isprintable()
    if line_format == "json":
        assert json.loads(text)["path"] == HOSTILE


def test_levels(pipe: tuple[int, int]) -> None:
    read, write = pipe
    writer = LineWriter(write)
    logger = Logger(writer, "warning")
    logger.log("info", "quiet")
    logger.log("error", "loud")
    assert writer.flush()
    lines = os.read(read, 4096).splitlines()
    assert [json.loads(line)["event"] for line in lines] == ["loud"]


def test_a_blocked_reader_costs_lines_not_time(pipe: tuple[int, int]) -> None:
    read, write = pipe
    writer = LineWriter(write, capacity=100)
    logger = Logger(writer)
    began = time.monotonic()
    for number in range(2000):
        logger.log("info", "request", number=number, filler="x" * 100)
    assert time.monotonic() - began < 1
    assert not writer.flush(0.05)
    assert 1800 <= writer.dropped < 2000
    received = b""
    while b'"number": 40,' not in received:
        received += os.read(read, 4096)
    assert [json.loads(line)["number"] for line in received.splitlines()[:20]] == list(range(20))
    while not writer.flush(0.01):
        os.read(read, 4096)


def test_records_of_the_standard_library(pipe: tuple[int, int]) -> None:
    read, write = pipe
    writer = LineWriter(write)
    log = logging.getLogger("quintet.test")
    log.propagate = False
    log.addHandler(LoggingBridge(Logger(writer)))
    try:
        raise RuntimeError("broken\nline")
    except RuntimeError:
        log.exception("it failed: %s", HOSTILE)
    log.handlers.clear()
    assert writer.flush()
    found = json.loads(os.read(read, 65536))
    assert found["level"] == "error"
    assert found["exception"] == "RuntimeError"
    assert HOSTILE in found["message"]
