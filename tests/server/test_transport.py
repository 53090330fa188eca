"""Broken, huge and hostile requests (reliability B-01 to B-15): a clear error, and the next good request is served."""

from __future__ import annotations

import contextlib
import gzip
import json
import re
import time
from collections.abc import Iterator

import pytest

from tests.support.server import RunningServer, chat_bytes, http_request, read_all, read_until

CHAT = "/v1/chat/completions"
GENERATE = "/generate"
LEAKS = re.compile(rb"/home|/usr|/work|Traceback|0x[0-9a-f]{8,}|site-packages|SELECT|\.py\b")


@pytest.fixture(autouse=True)
def _still_serves(server: RunningServer) -> Iterator[None]:
    """After every test the server answers a good request and holds no slot."""
    yield
    assert server.chat().status == 200


def status_of(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1]) if answer else 0


def check_refusal(answer: bytes, *statuses: int) -> None:
    """One refusal in our shape, without anything that should not be shown."""
    assert status_of(answer) in statuses, answer[:300]
    head, _, body = answer.partition(b"\r\n\r\n")
    parsed = json.loads(body)
    assert parsed["error"]["message"]
    assert parsed["error"]["type"]
    assert "error_type" in parsed
    assert b"x-request-id: " in head.lower()
    assert not LEAKS.search(answer)


@pytest.mark.parametrize("path", [CHAT, GENERATE, "/", "/phi3/generate", "/v1/completions", "/tokenize"])
@pytest.mark.parametrize("body", [b"", b"hello", b"null", b"[]", b'"x"', b"1", b"{", b'{"a":}', b"\x00"])
def test_b01_not_a_json_object(server: RunningServer, path: str, body: bytes) -> None:
    answer = server.ask("POST", path, body or None, {"content-type": "application/json"})
    assert answer.status == 400
    assert answer.json["error"]["message"]
    assert answer.headers["x-should-retry"] == "false"


@pytest.mark.parametrize(
    "body",
    [
        '{"inputs":"hé"}'.encode("utf-16"),
        '{"inputs":"h+AOk-"}'.encode("utf-16-le"),
        b'\xef\xbb\xbf{"inputs":"x"}',
        b'{"inputs":"\xff\xfe"}',
        b'{"inputs":"a\\u0000b"}',
        b'{"inputs":"\\ud800"}',
        b'{"inputs":"x","inputs":"y"}',
        b'{"inputs":"x","parameters":{"temperature":NaN}}',
        b'{"inputs":"x","parameters":{"temperature":1e999}}',
    ],
)
def test_b02_b16_b17_b19_strange_json(server: RunningServer, body: bytes) -> None:
    assert server.ask("POST", GENERATE, body).status == 400


SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


@pytest.mark.parametrize(
    "lines",
    [
        b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        b"Content-Length: 5\r\nContent-Length: 6\r\n",
        b"Transfer-Encoding: xchunked\r\n",
        b"Transfer-Encoding: chunked, identity\r\n",
        b"Content-Length: -1\r\n",
        b"Content-Length: +5\r\n",
        b"Content-Length : 5\r\n",
        b"Content-Length: 5\n X: y\r\n",
        b"X-Folded: a\r\n b\r\n",
        b"Content-Length: 99999999999999999999999\r\n",
        b"Bad\x00Name: x\r\n",
    ],
)
def test_b03_ambiguous_framing(server: RunningServer, lines: bytes) -> None:
    head = b"POST /generate HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    answer = server.raw(head + lines + b"\r\n0\r\n\r\n" + SMUGGLED)
    assert len(re.findall(rb"HTTP/1.1 [0-9]", answer)) == 1, answer
    check_refusal(answer, 400)
    assert not any(
        record["route"] == "/smuggled" or record["status"] == 404 for record in server.records()[-1:]
    )


def test_b03_bare_line_feeds(server: RunningServer) -> None:
    answer = server.raw(b"GET /health HTTP/1.1\nHost: 127.0.0.1\n\n", timeout=5)
    assert status_of(answer) == 400


@pytest.mark.parametrize("path", [CHAT, GENERATE, "/", "/health", "/v1/models", "/metrics", "/phi3/generate"])
@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "FOO", "G", "PROPFIND"])
def test_b04_methods(server: RunningServer, path: str, method: str) -> None:
    answer = server.raw(http_request(method, path, connection="close"))
    check_refusal(answer, 405)
    allow = re.search(rb"\r\nallow: ([A-Z, ]+)\r\n", answer)
    assert allow is not None
    assert method.encode() not in allow[1].split(b", ")


def test_b04_metric_labels_stay_few(server: RunningServer) -> None:
    def lines() -> int:
        return len(server.ask("GET", "/metrics").body.splitlines())

    server.raw(http_request("FOO0", "/x", connection="close"))
    server.ask("GET", "/nowhere")
    server.ask("GET", "/metrics")
    before = lines()
    for number in range(300):
        server.ask("GET", f"/nowhere/{number}")
        server.raw(http_request(f"FOO{number}", "/x", connection="close"))
        server.ask("POST", f"/alias{number}/generate", {"inputs": "x"})
    metrics = server.ask("GET", "/metrics").body.decode()
    assert len(metrics.splitlines()) <= before + 30
    assert "nowhere" not in metrics
    assert "alias7" not in metrics
    assert 'route="/{alias}/generate"' in metrics


def test_b05_many_tiny_chunks(server: RunningServer) -> None:
    memory = server.resident_bytes()
    head = http_request("POST", GENERATE, transfer_encoding="chunked", content_type="application/json")
    check_refusal(server.raw(head + b"1\r\n \r\n" * 65_537 + b"0\r\n\r\n"), 400, 413)
    assert server.resident_bytes() - memory < 32 * 2**20


def test_b05_a_huge_chunk_extension(server: RunningServer) -> None:
    memory = server.resident_bytes()
    head = http_request("POST", GENERATE, transfer_encoding="chunked", content_type="application/json")
    answer = server.raw(head + b"1;" + b"x" * 2**20 + b"\r\n{\r\n0\r\n\r\n")
    assert status_of(answer) in (0, 400, 413)
    assert server.resident_bytes() - memory < 32 * 2**20


def test_b05_an_endless_chunk_is_cut_at_the_cap(server: RunningServer) -> None:
    head = http_request(
        "POST", "/v1/completions", transfer_encoding="chunked", content_type="application/json"
    )
    with server.connect() as connection:
        connection.sendall(head + b"FFFFFFFFFFFFFFF\r\n")
        try:
            for _ in range(3 * 16):
                connection.sendall(b" " * 65_536)
        except OSError:
            pass
        assert status_of(connection.recv(65_536)) in (400, 413)


@pytest.mark.parametrize(
    ("request_bytes", "statuses"),
    [
        (http_request("GET", "/health", **{f"x-{n}": "y" for n in range(10_001)}), (431, 400)),
        (http_request("GET", "/health", big="y" * 2**20), (431, 400)),
        (http_request("GET", "/" + "a" * 65_536), (400, 414)),
        (http_request("GET", "/health?" + "a" * 102_400), (400, 414)),
    ],
)
def test_b06_too_much_before_the_body(
    server: RunningServer, request_bytes: bytes, statuses: tuple[int, ...]
) -> None:
    with server.connect() as connection:
        with contextlib.suppress(OSError):
            connection.sendall(request_bytes)
        answer = read_all(connection)
    assert status_of(answer) in (*statuses, 0)


@pytest.mark.parametrize(
    "hosts",
    [
        ["a/?x="],
        ["evil"],
        ["evil.example:8000"],
        [""],
        ["127.0.0.1", "127.0.0.1"],
        [],
        ["127.0.0.1@evil"],
        ["127.0.0.1 x"],
        ["[::1"],
    ],
)
@pytest.mark.parametrize("path", ["/v1/models", "/health", "/metrics"])
def test_b10_hosts(server: RunningServer, hosts: list[str], path: str) -> None:
    lines = "".join(f"Host: {host}\r\n" for host in hosts)
    check_refusal(server.raw(f"GET {path} HTTP/1.1\r\nConnection: close\r\n{lines}\r\n".encode()), 400)


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1", "[::1]:8000"])
def test_b10_our_own_names(server: RunningServer, host: str) -> None:
    assert status_of(server.raw(http_request("GET", "/v1/models", host=host, connection="close"))) == 200


@pytest.mark.parametrize(
    "target", ["http://127.0.0.1/v1/models", "@google.com", "*", "v1/models", "127.0.0.1:80", "?x"]
)
def test_b10_targets(server: RunningServer, target: str) -> None:
    check_refusal(server.raw(http_request("GET", target, connection="close")), 400)


@pytest.mark.parametrize(
    "path",
    [
        "//v1/models",
        "/v1//models",
        "/v1/%2e%2e/metrics",
        "/v1/../metrics",
        "/v1;x/models",
        "/V1/models",
        "/v1/models/",
        "/health/",
        "/%00",
        "/v1/models%00",
        "/%ff",
        "/v1/models/%00",
        "/v1/models/../../etc/passwd",
        "/admin",
        "/.env",
    ],
)
def test_b11_odd_paths(server: RunningServer, path: str) -> None:
    check_refusal(server.raw(http_request("GET", path, connection="close")), 400, 404)


def test_b11_doubled_slashes_help_only_who_has_a_credential(server: RunningServer) -> None:
    assert server.ask("GET", "//v1/models", headers={"authorization": "Bearer x"}).status == 401


@pytest.mark.parametrize(
    "content_type",
    [
        "",
        "text/plain",
        "application/json; charset=utf-16",
        "application/x-www-form-urlencoded",
        "json",
        "application/json5",
    ],
)
def test_b12_content_types(server: RunningServer, content_type: str) -> None:
    answer = server.ask("POST", GENERATE, b'{"inputs":"x"}', {"content-type": content_type})
    assert answer.status == 415


@pytest.mark.parametrize(
    "content_type", ["application/json", "application/json; charset=utf-8", "Application/JSON;charset=UTF-8"]
)
def test_b12_good_content_types(server: RunningServer, content_type: str) -> None:
    assert server.ask("POST", GENERATE, b'{"inputs":"x"}', {"content-type": content_type}).status == 200


@pytest.mark.parametrize("encoding", ["gzip", "br", "deflate", "gzip, gzip", "zstd"])
def test_b13_compressed_bodies(server: RunningServer, encoding: str) -> None:
    bomb = gzip.compress(b" " * 2**20)
    assert server.ask("POST", GENERATE, bomb, {"content-encoding": encoding}).status == 415


def test_b14_a_bad_key_is_refused_before_the_body(server: RunningServer) -> None:
    wrong = {"authorization": "Bearer x", "content_type": "application/json", "content_length": str(2**30)}
    with server.connect() as connection:
        connection.sendall(http_request("POST", CHAT, expect="100-continue", **wrong))
        answer = read_until(connection, b"\r\n\r\n")
    assert status_of(answer) == 401, "and no 100 Continue before it"


def test_b14_a_good_request_is_told_to_continue(server: RunningServer) -> None:
    body = b'{"inputs":"hello"}'
    head = http_request(
        "POST",
        GENERATE,
        expect="100-continue",
        content_type="application/json",
        content_length=str(len(body)),
    )
    with server.connect() as connection:
        connection.sendall(head)
        assert read_until(connection, b"\r\n\r\n").startswith(b"HTTP/1.1 100 ")
        connection.sendall(body)
        assert status_of(read_until(connection, b"}")) == 200


def test_b14_a_body_that_is_announced_too_large(server: RunningServer) -> None:
    started = time.monotonic()
    with server.connect() as connection:
        connection.sendall(
            http_request("POST", CHAT, content_type="application/json", content_length=str(10 * 2**30))
        )
        check_refusal(read_until(connection, b"}") + b"", 413)
    assert time.monotonic() - started < 2


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 200_000,
        b'{"a":' * 100_000,
        b"{" + b",".join(b'"k%d":1' % n for n in range(100_000)) + b"}",
        b'{"inputs":' + b"1" * 4301 + b"}",
    ],
)
def test_b15_deep_wide_and_long(server: RunningServer, body: bytes) -> None:
    answer = server.ask("POST", GENERATE, body)
    assert answer.status == 400
    assert not LEAKS.search(answer.body)


def test_b15_one_long_string(server: RunningServer) -> None:
    assert server.ask("POST", "/v1/completions", b'{"prompt":"' + b"x" * 10 * 2**20 + b'"}').status == 413


def test_b08_ranges_are_ignored(server: RunningServer) -> None:
    ranges = "bytes=" + ",".join(f"{n}-{n}" for n in range(5_000))
    started = time.monotonic()
    assert server.ask("GET", "/docs", headers={"range": ranges}).status == 200
    assert time.monotonic() - started < 1


def test_request_ids(server: RunningServer) -> None:
    assert (
        server.ask("GET", "/health", headers={"x-request-id": "My-Id_1.2"}).headers["x-request-id"]
        == "My-Id_1.2"
    )
    for strange in ("a b", "x" * 65, "<script>", "é"):
        found = server.ask("GET", "/health", headers={"x-request-id": strange}).headers["x-request-id"]
        assert re.fullmatch(r"[0-9a-f]{24}", found)


def test_log_lines_can_not_be_forged(server: RunningServer) -> None:
    server.raw(
        b'GET /x HTTP/1.1\r\nHost: evil"}\x1b[31m\r\nUser-Agent: a\x1b[2J\r\nConnection: close\r\n\r\n'
    )
    server.ask("POST", GENERATE, {"inputs": "x", "model": '"}\n{"event":"request"'})
    time.sleep(0)
    for line in server.log:
        assert line.isascii()
        assert line.isprintable()
        json.loads(line)


def test_two_requests_on_one_connection(server: RunningServer) -> None:
    with server.connect() as connection:
        connection.sendall(chat_bytes("one") + chat_bytes("two"))
        received = read_until(connection, b'"two"')
    assert received.count(b"HTTP/1.1 200") == 2
    assert received.index(b'"one"') < received.index(b'"two"')


def test_unknown_routes_speak_the_words_of_their_neighbours(server: RunningServer) -> None:
    assert server.ask("GET", "/v1/nothing").json["error"]["code"] == "not_found"
    assert server.ask("GET", "/nothing").json["error"]["code"] == 404
    assert server.ask("GET", "/v1/models/nothing").json["error"]["code"] == "model_not_found"


def test_head(server: RunningServer) -> None:
    answer = server.ask("HEAD", "/health")
    assert (answer.status, answer.body) == (200, b"")
