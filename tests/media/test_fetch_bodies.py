"""F-30, R-16, R-21, R-22, R-23, R-26: hosts that answer badly, or far too much; and certificates."""

import asyncio
import gzip
import shutil
import ssl
import subprocess
import time

import pytest

from quintet.core.errors import InvalidRequest
from quintet.media.exchange import SNIFFED_BYTES
from tests.media.web import (
    PICTURE,
    Web,
    answer,
    assert_fails,
    drip,
    get,
    is_picture,
    pour,
    pour_crumbs,
    pour_heads,
    redirect,
    stay_silent,
)

pytestmark = pytest.mark.anyio

SECRET = b"the-hidden-words"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
MEGABYTE = 1024 * 1024
BAD = {
    **{
        f"R-22 {code}": ("status", answer(status=f"{code} So"))
        for code in (201, 203, 206, 401, 403, 404, 500)
    },
    "R-22 204": ("status", b"HTTP/1.1 204 No Content\r\n\r\n"),
    "F-30 304": ("status", b"HTTP/1.1 304 Not Modified\r\n\r\n"),
    "300": ("status", answer(b"", "Location: /y", status="300 Choose")),
    "101": ("not_http", b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"),
    "R-23 HTML": ("unwanted_kind", answer(b"<!doctype html><title>" + SECRET + b"</title>" + bytes(200))),
    "R-23 short": ("unwanted_kind", answer(SECRET)),
    "R-23 SVG": ("unwanted_kind", answer(b"<svg xmlns='http://www.w3.org/2000/svg'/>" + SECRET)),
    "R-23 JSON": ("unwanted_kind", answer(b'{"key": "' + SECRET + b'"}', "Content-Type: image/png")),
    "R-23 empty": ("unwanted_kind", answer(b"")),
    "HTTP/0.9": ("not_http", PICTURE),
    "HTTP/0.9 secret": ("not_http", SECRET),
    "not HTTP": ("not_http", b"SSH-2.0-OpenSSH_9.6 " + SECRET + b"\r\n"),
    "nothing": ("not_http", b""),
    "bad header": ("not_http", b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n" + PICTURE),
    "long header": ("not_http", b"HTTP/1.1 200 OK\r\nX: " + b"a" * 200_000 + b"\r\n\r\n" + PICTURE),
    "F-30 gzip bomb": (
        "encoded",
        answer(gzip.compress(PICTURE + bytes(MEGABYTE)), "Content-Encoding: gzip"),
    ),
    "F-30 two encodings": ("encoded", answer(PICTURE, "Content-Encoding: identity, br")),
    "F-30 gzip in transfer": ("not_http", answer(PICTURE, "Transfer-Encoding: gzip, chunked")),
    "F-30 length too long": ("not_http", answer(PICTURE, length=len(PICTURE) + 1)),
    "F-30 length too short": ("wrong_length", answer(PICTURE, length=100)),
    "F-30 length and length": ("not_http", answer(PICTURE, "Content-Length: 5")),
    "F-30 length negative": ("not_http", answer(PICTURE, length=-1)),
    "F-30 length of 10 GiB": ("too_large", answer(PICTURE, length=10 * 1024**3)),
    "F-30 length of 20 MiB + 1": ("too_large", answer(PICTURE, length=20 * MEGABYTE + 1)),
    "F-30 length of a thousand digits": (
        "not_http",
        b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 1000 + b"\r\n\r\n",
    ),
    "F-30 chunks cut": ("not_http", CHUNKED + b"108\r\n" + PICTURE),
    "F-30 chunk of 16 EiB": ("not_http", CHUNKED + b"f" * 17 + b"\r\n" + PICTURE),
    "F-30 bad chunks": ("not_http", CHUNKED + b"-5\r\n" + PICTURE),
    "redirect to nowhere": ("redirect", answer(SECRET, status="302 Found")),
}


@pytest.mark.parametrize("case", BAD)
async def test_a_bad_answer_is_the_same_refusal_whatever_it_is(case):
    reason, said = BAD[case]
    async with Web.open() as web:
        web.answers["/x"] = said
        fetcher = web.fetcher(total_seconds=5)
        await assert_fails(fetcher, reason=reason)
        assert fetcher._budget.held_bytes == 0


async def test_r26_no_error_holds_what_was_fetched(caplog):
    caplog.set_level("DEBUG")
    said = set()
    async with Web.open() as web:
        for reason, body in BAD.values():
            web.answers["/x"] = body
            with pytest.raises(InvalidRequest) as error:
                await get(web.fetcher(), "http://a.example/x")
            said.add((error.value.message, error.value.code, error.value.status, str(error.value.facts)))
            assert reason not in error.value.message
    assert len(said) == 1, "one sentence for all of them"
    everything = str(said) + caplog.text
    assert SECRET.decode() not in everything
    assert "a.example" not in everything


@pytest.mark.parametrize(
    ("handler", "reason", "bounds"),
    [
        (stay_silent, "too_slow", (0.3, 5)),
        (drip, "too_slow", (0.3, 5)),
        (pour, "too_large", (0, 8)),
        (pour_crumbs, "crumbs", (0, 8)),
        (pour_heads, "crumbs", (0, 8)),
    ],
    ids=["silent", "a byte at a time", "without an end", "in chunks of one byte", "heads without an end"],
)
async def test_r16_hosts_that_never_come_to_an_end(handler, reason, bounds):
    async with Web.open() as web:
        web.answers["/x"] = handler
        limits = {"total_seconds": 0.3} if reason == "too_slow" else {"total_seconds": 10}
        fetcher = web.fetcher(**limits)
        start = time.perf_counter()
        await assert_fails(fetcher, reason=reason)
        assert bounds[0] <= time.perf_counter() - start < bounds[1]
        assert fetcher._budget.held_bytes == 0


async def test_f30_the_time_is_for_all_hops_together():
    async def late(reader, writer):
        head = await asyncio.sleep(0.15, redirect("/y"))
        writer.write(head)

    async with Web.open() as web:
        web.answers |= {"/x": late, "/y": late}
        await assert_fails(web.fetcher(total_seconds=0.2), reason="too_slow")  # else it would see the loop


@pytest.mark.parametrize("size", [20 * MEGABYTE, 20 * MEGABYTE + 1])
async def test_f30_twenty_mebibytes_and_no_byte_more(size):
    async def send(reader, writer):
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n" + PICTURE)
        left = size - len(PICTURE)
        while left > 0:
            writer.write(bytes(min(left, MEGABYTE)))
            left -= MEGABYTE
            await writer.drain()

    async with Web.open() as web:
        web.answers["/x"] = send
        if size == 20 * MEGABYTE:
            assert len(await get(web.fetcher())) == size
        else:
            await assert_fails(web.fetcher(), reason="too_large")


async def test_f30_what_is_counted_is_what_comes_over_the_wire():
    async def pad(reader, writer):
        writer.write(CHUNKED + b"108\r\n" + PICTURE + b"\r\n")
        while True:
            writer.write(b"1;" + b"x" * 8000 + b"\r\na\r\n")
            await writer.drain()

    async with Web.open() as web:
        web.answers["/x"] = pad
        await assert_fails(web.fetcher(max_bytes=MEGABYTE, total_seconds=5), reason="too_large")


async def test_what_is_unwanted_is_not_read_to_its_end():
    sent = 0

    async def send(reader, writer):
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        for _ in range(200):
            writer.write(b"<html>" + bytes(65536))
            await writer.drain()
            sent += 65536

    async with Web.open() as web:
        web.answers["/x"] = send
        await assert_fails(web.fetcher(), reason="unwanted_kind")
    assert sent < 8 * MEGABYTE


async def test_the_kind_is_judged_once_from_the_beginning():
    asked = []

    def wanted(start):
        asked.append(start)
        return is_picture(start)

    async def crumble(reader, writer):
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        for letter in PICTURE:
            writer.write(bytes((letter,)))
            await asyncio.sleep(0)

    async with Web.open() as web:
        web.answers["/x"] = crumble
        assert await web.fetcher().fetch("http://a.example/x", field="f", wanted=wanted) == PICTURE
    assert asked == [PICTURE[:SNIFFED_BYTES]]


# ------------------------------------------------------------------------------------------- TLS


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A self-signed certificate of pictures.example and of the address PUBLIC."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("needs the openssl command to make a certificate")
    root = tmp_path_factory.mktemp("certificate")
    key, file = root / "key.pem", root / "certificate.pem"
    names = "subjectAltName=DNS:pictures.example,IP:93.184.216.34"
    subprocess.run(
        [
            *(openssl, "req", "-x509", "-nodes", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"),
            *(
                "-keyout",
                str(key),
                "-out",
                str(file),
                "-days",
                "2",
                "-subj",
                "/CN=pictures",
                "-addext",
                names,
            ),
        ],
        check=True,
        capture_output=True,
        timeout=30,
    )
    return file, key


@pytest.fixture
def server_tls(certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    return context


async def test_r21_a_certificate_must_be_trusted_and_fit_the_name(certificate, server_tls):
    trusting = ssl.create_default_context(cafile=certificate[0])
    async with Web.open(server_tls) as web:
        fetcher = web.fetcher(tls=trusting)
        assert await get(fetcher, "https://pictures.example/x") == PICTURE
        assert await get(fetcher, "https://93.184.216.34/x") == PICTURE
        assert web.server_names == ["pictures.example", "93.184.216.34"]
        await assert_fails(fetcher, "https://other.example/x", "tls")
        await assert_fails(fetcher, "https://1.1.1.1/x", "tls")
        await assert_fails(web.fetcher(), "https://pictures.example/x", "tls")  # the system doesn't know it
        web.names["pictures.example"] = ["1.1.1.1", "8.8.8.8", "9.9.9.9"]
        dialled = len(web.dialled)
        await assert_fails(web.fetcher(), "https://pictures.example/x", "tls")
        assert len(web.dialled) == dialled + 1, "a bad certificate is no reason to try another address"


async def test_r07_a_redirect_never_leads_from_https_to_http(certificate, server_tls):
    async with Web.open(server_tls) as web:
        web.answers["/x"] = redirect("http://pictures.example/y")
        web.answers["/good"] = redirect("/y")
        fetcher = web.fetcher(tls=ssl.create_default_context(cafile=certificate[0]))
        await assert_fails(fetcher, "https://pictures.example/x", "refused_redirect")
        assert await get(fetcher, "https://pictures.example/good") == PICTURE


async def test_r21_a_host_that_speaks_no_tls_or_never_ends_its_handshake():
    async with Web.open() as web:
        web.answers["/x"] = answer()
        fetcher = web.fetcher(connect_seconds=0.2)
        start = time.perf_counter()
        await assert_fails(fetcher, "https://pictures.example/x")  # waits for the end of a head
        assert time.perf_counter() - start < 5
