"""parse_json against the transport rows of the bad-input corpus (B-01, B-02, B-15 … B-19)."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quintet.core.errors import InvalidRequest
from quintet.dialects.strict_json import MAX_DEPTH, MAX_KEYS, MAX_MARKS, parse_json

BAD = {
    "empty": b"",
    "blank": b" \n",
    "not json": b"hello",
    "half": b'{"a": "secret',
    "two values": b"{} {}",
    "trailing comma": b'{"a": 1,}',
    "single quotes": b"{'a': 1}",
    "utf-16": '{"a": "é"}'.encode("utf-16"),
    "utf-16 without mark": '{"a": "é"}'.encode("utf-16-le"),
    "utf-7": '{"a": "é"}'.encode("utf-7").replace(b'"', b"+ACI-"),
    "byte-order mark": b'\xef\xbb\xbf{"a": 1}',
    "invalid utf-8": b'{"a": "\xff"}',
    "overlong utf-8": b'{"a": "\xc0\xaf"}',
    "surrogate as utf-8": b'{"a": "\xed\xa0\x80"}',
    "raw control character": b'{"a": "\x01"}',
    "raw nul": b'{"a": "\x00"}',
    "nul": b'{"a": "x\\u0000y"}',
    "nul in key": b'{"x\\u0000": 1}',
    "high surrogate": b'{"a": "\\ud800"}',
    "low surrogate": b'{"a": ["\\uDC00"]}',
    "surrogates in wrong order": b'{"a": "\\udc00\\ud800"}',
    "surrogate in key": b'{"\\ud83d": 1}',
    "NaN": b'{"a": NaN}',
    "infinity": b'{"a": -Infinity}',
    "1e999": b'{"a": 1e999}',
    "negative zero": b'{"a": -0.0}',
    "long int": b'{"a": ' + b"9" * 4301 + b"}",
    "duplicate keys": b'{"model": "a", "model": "b"}',
    "nested duplicate keys": b'{"a": [{"b": 1, "b": 1}]}',
    "deep arrays": b"[" * 200_000 + b"]" * 200_000,
    "deep objects": b'{"a":' * 200_000,
    "one too deep": b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1),
    "many keys": json.dumps({str(i): 0 for i in range(MAX_KEYS + 1)}).encode(),
    "half a million values": b"[" + b"[]," * (MAX_MARKS // 2) + b"[]]",
    "100,000 keys": json.dumps({str(i): 0 for i in range(100_000)}).encode(),
}


@pytest.mark.parametrize("body", BAD.values(), ids=BAD.keys())
def test_bad_json_is_refused_without_echo(body: bytes) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse_json(body)
    assert "secret" not in caught.value.message
    assert caught.value.code == "invalid_json"
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    "value",
    [
        {},
        [],
        None,
        1,
        "x",
        {"a": [1, 2.5, -3, 0, 1e300, "é", "😀", True, None]},
        {"literal": "\\u0000 and \\ud800 written with a backslash"},
        {"emoji": "😀", "hangul": "한국어"},
    ],
)
def test_good_json_is_what_the_standard_library_reads(value: Any) -> None:
    for ensure_ascii in (True, False):
        assert parse_json(json.dumps(value, ensure_ascii=ensure_ascii).encode()) == value


def test_the_deepest_allowed_nesting_passes() -> None:
    parse_json(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH)
    parse_json(b'{"a":' * MAX_DEPTH + b"1" + b"}" * MAX_DEPTH)


@given(st.binary(max_size=200))
def test_any_bytes_give_a_value_or_invalid_request(body: bytes) -> None:
    try:
        value = parse_json(body)
    except InvalidRequest:
        return
    json.dumps(value, ensure_ascii=False, allow_nan=False).encode("utf-8")


def test_large_bodies_are_read_in_reasonable_time() -> None:
    picture = json.dumps({"a": "iVBORw0KGgo" * 1_000_000, "emoji": "😀"}).encode()
    started = time.process_time()
    parse_json(picture)
    parse_json(b"[" + b"1," * 500_000 + b"1]")
    assert time.process_time() - started < 3
