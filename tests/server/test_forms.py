"""Forms: what clients send, what is refused, and that nothing in them costs much."""

from __future__ import annotations

import time
from contextlib import suppress

import httpx
import pytest

from quintet.core.errors import InvalidRequest, UnsupportedMediaType
from quintet.dialects.base import Form, Upload
from quintet.server.exchange import Exchange
from quintet.server.forms import form_boundary, parse_form

BOUNDARY = b"XbX"
TYPE = b"multipart/form-data; boundary=XbX"


def part(name: bytes, content: bytes, more: bytes = b"", headers: bytes = b"") -> bytes:
    disposition = b'Content-Disposition: form-data; name="' + name + b'"' + more
    return b"--XbX\r\n" + disposition + b"\r\n" + headers + b"\r\n" + content + b"\r\n"


def form(*parts: bytes) -> bytes:
    return b"".join(parts) + b"--XbX--\r\n"


def boundary_of(*headers: tuple[bytes, bytes]) -> bytes | None:
    return form_boundary(Exchange(scope={"headers": list(headers)}, request_id="r", started=0.0))


def test_what_a_client_sends() -> None:
    files = [("image_files", ("ä.png", b"\x89PNG\r\n--XbX", "image/png")), ("image_files", ("b", b""))]
    request = httpx.Request(
        "POST", "http://h/", data={"prompt": "Grüße\r\n", "links": ["a", "b"]}, files=files
    )
    boundary = boundary_of((b"content-type", request.headers["content-type"].encode()))
    assert boundary is not None
    assert parse_form(request.read(), boundary) == Form(
        texts={"prompt": ["Grüße\r\n"], "links": ["a", "b"]},
        files={"image_files": [Upload("ä.png", b"\x89PNG\r\n--XbX"), Upload("b", b"")]},
    )


def test_what_senders_may_vary() -> None:
    assert parse_form(b"\r\n" + form(part(b"a", b"1")) + b"epilogue", BOUNDARY).texts == {"a": ["1"]}
    assert parse_form(form(part(b"a", b"x", headers=b"content-transfer-encoding: BINARY\r\n")), BOUNDARY)
    crowd = form(part(b"f", b"x", b'; filename="..\\\\..\\\\etc/pass\x01wd"'))
    (upload,) = parse_form(crowd, BOUNDARY).files["f"]
    assert upload.data == b"x"
    assert "\x01" not in upload.name
    assert len(parse_form(form(*[part(b"a", b"")] * 64), BOUNDARY).texts["a"]) == 64


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"--YbY\r\n\r\nx\r\n--YbY--\r\n",
        b"preamble\r\n" + form(part(b"a", b"1")),
        form(part(b"a", b"1"))[:-6],
        form(part(b"a", b"1"))[:20],
        form(*[part(b"a", b"")] * 65),
        form(part(b"", b"1")),
        form(part(b"a" * 65, b"1")),
        form(part(b"a\x01", b"1")),
        form(part(b"\xff", b"1")),
        form(part(b"a", b"\xff")),
        form(part(b"a", b"1\x002")),
        form(part(b"a", b"1", headers=b"X: " + b"y" * 2049 + b"\r\n")),
        form(part(b"a", b"1", headers=b"".join(b"X%d: y\r\n" % n for n in range(9)))),
        form(part(b"a", b"1", headers=b"Content-Disposition: form-data; name=b\r\n")),
        form(part(b"a", b"MQ==", headers=b"Content-Transfer-Encoding: base64\r\n")),
        b"--XbX\r\n\r\nno headers\r\n--XbX--\r\n",
        b"--XbX\r\nContent-Disposition: attachment; name=a\r\n\r\nx\r\n--XbX--\r\n",
    ],
)
def test_broken_forms(body: bytes) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse_form(body, BOUNDARY)
    assert caught.value.code == "invalid_form"


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([(b"content-type", TYPE)], b"XbX"),
        ([(b"content-type", b'Multipart/Form-Data; charset=utf-8; boundary="X b"')], b"X b"),
        ([(b"content-type", b"application/json")], None),
        ([(b"content-type", TYPE)] * 2, None),
        ([], None),
        ([(b"content-type", b"multipart/form-data")], InvalidRequest),
        ([(b"content-type", b"multipart/form-data; boundary=")], InvalidRequest),
        ([(b"content-type", b"multipart/form-data; boundary=" + b"x" * 71)], InvalidRequest),
        ([(b"content-type", b"multipart/form-data; boundary=\xff")], InvalidRequest),
        ([(b"content-type", b"multipart/form-data; boundary=x" + b";a=b" * 200)], InvalidRequest),
        ([(b"content-type", b"multipart/form-databoundary=x")], InvalidRequest),
        ([(b"content-type", TYPE), (b"content-encoding", b"gzip")], UnsupportedMediaType),
    ],
)
def test_boundaries(headers: list[tuple[bytes, bytes]], expected: object) -> None:
    if isinstance(expected, type):
        with pytest.raises(expected):
            boundary_of(*headers)
    else:
        assert boundary_of(*headers) == expected


@pytest.mark.parametrize(
    "unit",
    [b"\r", b"\r\n", b"\r\n--Xb", b"\r\n--XbX", b"-", b"--XbX\r\nA:b\r\n\r\n", b"--XbX\r\n" + b"A" * 999],
)
def test_thirty_two_mebibytes(unit: bytes) -> None:
    """Measured: 0.01 s for every one of these; the bound is for a slow machine."""
    body = form(part(b"a", unit * (32 * 2**20 // len(unit)), b'; filename="x"'))
    started = time.thread_time()
    with suppress(InvalidRequest):
        assert parse_form(body, BOUNDARY).files
    assert time.thread_time() - started < 0.5
