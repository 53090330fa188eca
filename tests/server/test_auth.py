"""Keys, bans and the local principal, against a real server (reliability A-01 to A-09)."""

from __future__ import annotations

import itertools
import socket
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from quintet.store.keys import open_key_store
from tests.server.conftest import MakeKey, Start
from tests.support.server import Answer, RunningServer, http_request, read_until

WRONG = "qt_0000000000_" + "0" * 43
Visit = Callable[..., Answer]
BODY = {"model": "echo", "messages": [{"role": "user", "content": "hello"}]}


class House:
    """One server behind a trusted proxy, so that every test can come from an address of its own."""

    def __init__(self, server: RunningServer) -> None:
        self.server = server
        self.addresses = (f"10.0.{n // 250}.{n % 250}" for n in itertools.count())

    def key(self, owner: str = "ada", **more: Any) -> str:
        store = open_key_store(self.server.home / "quintet.db", self.server.home / "pepper")
        try:
            return store.create(owner, **more)
        finally:
            store.database.close()


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    home = tmp_path_factory.mktemp("home")
    with RunningServer.start(home, auth__local="false", auth__trusted_proxies='["127.0.0.1"]') as running:
        yield House(running)


@pytest.fixture
def visit(house: House) -> Visit:
    """Asks from an address that nobody else in this module has."""
    address = next(house.addresses)

    def ask(
        key: str | None = None, body: object = BODY, path: str = "/v1/chat/completions", **more: str
    ) -> Answer:
        headers = {"x-forwarded-for": address, **more}
        if key is not None:
            headers["authorization"] = f"Bearer {key}"
        return house.server.ask("GET" if body is None else "POST", path, body, headers)

    return ask


def chat(
    server: RunningServer, authorization: str | None, path: str = "/v1/chat/completions", **more: str
) -> Answer:
    headers = dict(more) if authorization is None else {"authorization": authorization, **more}
    return server.ask("POST", path, BODY, headers)


def test_five_wrong_keys_ban_even_the_right_one(start: Start, make_key: MakeKey) -> None:
    server = start(auth__ban_seconds=2)
    key = make_key()
    answers = [server.chat(key=WRONG) for _ in range(6)]
    assert [answer.status for answer in answers] == [401] * 5 + [403]
    assert answers[0].headers["www-authenticate"] == "Bearer"
    assert answers[0].json["error"]["code"] == "invalid_api_key"
    banned = server.chat(key=key)
    assert banned.status == 403
    assert banned.json["error"]["code"] == "ip_banned"
    assert banned.json["error_type"] == "banned"
    assert 1 <= int(banned.headers["retry-after"]) <= 2
    assert banned.headers["x-should-retry"] == "false"
    assert server.chat().status == 403, "the local principal is banned like anybody"
    assert server.ask("GET", "/health").status == 200, "public routes stay open"
    server.wait_for(lambda: server.chat(key=key).status == 200, 10)


def test_a_rotating_forwarded_for_does_not_help(start: Start) -> None:
    server = start()
    found = [chat(server, f"Bearer {WRONG}", **{"x-forwarded-for": f"1.2.3.{n}"}).status for n in range(7)]
    assert found == [401] * 5 + [403] * 2


def test_a_trusted_proxy_brings_many_clients(start: Start, make_key: MakeKey) -> None:
    server = start(auth__trusted_proxies='["127.0.0.1"]')
    key = make_key()
    bad = {"x-forwarded-for": "8.8.8.8, 1.2.3.4"}
    assert [chat(server, f"Bearer {WRONG}", **bad).status for _ in range(6)] == [401] * 5 + [403]
    assert chat(server, f"Bearer {key}", **{"x-forwarded-for": "7.7.7.7, 1.2.3.4"}).status == 403
    assert chat(server, f"Bearer {key}", **{"x-forwarded-for": "1.2.3.4, 5.6.7.8"}).status == 200
    assert chat(server, None, **{"x-forwarded-for": "5.6.7.8"}).status == 401, "a proxied client is not local"
    assert [chat(server, f"Bearer {WRONG}").status for _ in range(8)] == [401] * 8, "a proxy is never banned"


def test_requests_through_an_unknown_proxy_are_not_local(start: Start) -> None:
    server = start()
    assert chat(server, None).status == 200
    assert chat(server, None, **{"x-forwarded-for": "127.0.0.1"}).status == 401
    assert chat(server, None, forwarded="for=127.0.0.1").status == 401
    assert chat(server, None, via="1.1 cache").status == 401
    assert chat(server, None, **{"x-real-ip": "8.8.8.8"}).status == 401
    assert chat(server, None, **{"x-forwarded-proto": "https"}).status == 401


@pytest.mark.parametrize(
    "header",
    [
        "Bearer",
        "Bearer ",
        "bearer x",
        "Basic YWRhOmFkYQ==",
        "Bearer " + "x" * 10_240,
        "Bearer a b",
        "Token x",
        "",
        "Bearer ' OR 1=1--",
    ],
)
def test_malformed_headers_are_401_and_count(visit: Visit, header: str) -> None:
    answers = [visit(authorization=header) for _ in range(6)]
    assert [answer.status for answer in answers] == [401] * 5 + [403]
    assert b"xxx" not in answers[0].body


def test_more_malformed_headers(house: House) -> None:
    key = house.key().encode()

    def status(*lines: bytes) -> int:
        request = http_request("GET", "/v1/models", connection="close").removesuffix(b"\r\n")
        return int(
            house.server.raw(request + b"".join(line + b"\r\n" for line in lines) + b"\r\n").split()[1]
        )

    right = b"Authorization: Bearer " + key
    assert status(right) == 200
    assert status(b"Authorization: bEaReR " + key) == 200
    assert status(right, right) == 401
    assert status(right, b"Authorization: Basic x") == 401
    assert status(b"Authorization: Bearer " + key + b"\xc3\xa9") == 401
    assert status(b"Authorization: Bearer " + key + b"\x00") == 400
    assert status(right + b"   ") in (200, 401)


def test_keys_in_the_url_are_refused(house: House, visit: Visit) -> None:
    key = house.key()
    for name in ("token", "api_key", "access_token"):
        assert visit(None, None, f"/v1/models?{name}={key}").status == 401
        assert visit(key, None, f"/v1/models?{name}={key}").status == 401
    assert visit(key, None, "/v1/models?limit=3").status == 200
    assert key not in "\n".join(house.server.log)


def test_a_missing_credential_never_counts(house: House, visit: Visit) -> None:
    assert [visit().status for _ in range(8)] == [401] * 8
    assert visit(house.key()).status == 200


def test_a_success_clears_the_count(house: House, visit: Visit) -> None:
    key = house.key()
    for _ in range(3):
        assert [visit(WRONG).status for _ in range(4)] == [401] * 4
        assert visit(key).status == 200


def test_many_wrong_keys_at_once_buy_no_extra_attempts(visit: Visit) -> None:
    with ThreadPoolExecutor(20) as pool:
        found = sorted(pool.map(lambda _: visit(WRONG).status, range(60)))
    assert set(found) <= {401, 403}
    assert 5 <= found.count(401) <= 5 + 20


def test_keys_with_a_common_prefix_do_not_cross(house: House, visit: Visit) -> None:
    ada, bob = house.key("ada"), house.key("bob")
    assert visit(ada).status == visit(bob).status == 200
    for length in (14, 20, 40, 55):
        assert visit(ada[:length] + bob[length:]).status == 401
        assert visit(ada).status == 200


def test_expired_and_revoked_keys(house: House, visit: Visit) -> None:
    short, revoked = house.key(valid_seconds=1), house.key("mallory")
    assert visit(revoked).status == 200
    with sqlite3.connect(house.server.home / "quintet.db") as database:
        database.execute("UPDATE keys SET revoked = 1 WHERE owner = 'mallory'")
    database.close()
    house.server.wait_for(lambda: visit(revoked).status in (401, 403), 1.0)
    house.server.wait_for(lambda: visit(short).status in (401, 403), 5.0)


def test_a_token_in_the_body_of_chat(house: House, visit: Visit) -> None:
    key = house.key()
    good = visit(body={**BODY, "token": key})
    assert good.status == 200, good.body
    assert visit(body={**BODY, "token": WRONG}).status == 401
    assert visit(body={**BODY, "token": [key]}).status == 400
    assert visit(body={**BODY, "token": "x" * 2**20}).status == 413
    assert visit(key, {**BODY, "token": "anything"}).status == 200
    assert visit(body={"inputs": "hello", "token": key}, path="/generate").status == 401
    assert key not in "\n".join(house.server.log)


def test_every_route_says_whom_it_lets_in(house: House) -> None:
    user, admin = house.key(), house.key("root", admin=True)

    def ask(method: str, path: str, key: str | None, number: int) -> Answer:
        headers = {"x-forwarded-for": f"10.9.{number}.1"}
        if key is not None:
            headers["authorization"] = f"Bearer {key}"
        return house.server.ask(method.upper(), path, {} if method == "post" else None, headers)

    paths = ask("get", "/openapi.json", admin, 0).json["paths"]
    public = {("/", "get"), ("/health", "get"), ("/ping", "get"), ("/ready", "get"), ("/info", "get")}
    lists = {"/models-llm", "/models-upscale", "/img2img/schedulers", "/img2img/refiners"}
    for kind in ("models", "samplers", "loras"):
        lists |= {f"/sd/{kind}", f"/{kind}", f"/{kind}-xl"}
    public |= {(path, "get") for path in lists}
    only_admin = {("/metrics", "get"), ("/docs", "get"), ("/openapi.json", "get"), ("/admin/models", "get")}
    only_admin |= {("/admin/models/pull", "post"), ("/admin/models/{model}", "delete")}
    routes = [(template, method) for template, methods in paths.items() for method in methods]
    assert len(routes) > 18
    for number, (template, method) in enumerate(routes):
        path = template.format(alias="phi3", model="echo", n=0, name="guessed")
        found = [ask(method, path, key, number).status for key in (None, WRONG, user, admin)]
        good = 400 if method == "post" else 200  # the empty body is refused only after the key was accepted
        if (template, method) in public:
            assert found == [200] * 4, template
        elif (template, method) in only_admin:
            good = 404 if method == "delete" else good  # no model of that name was pulled
            assert found == [401, 401, 403, good], template
        elif template == "/files/{name}":
            assert found == [404] * 4, "who knows the name needs no key"
        elif template in ("/generate-xl", "/generate-gif", "/img2img", "/upscale"):
            assert found == [403, 403, good, good], "what their client knows wrong keys by"
        else:
            assert found == [401, 401, good, good], template


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/generate/fromimagetext", "multipart/form-data; boundary=x"),
        ("/generate/fromimagetext", "application/json"),
        ("/v1/multimodal/generations/idefics", "application/json"),
    ],
)
def test_nobody_uploads_pictures_without_a_key(house: House, path: str, kind: str) -> None:
    """The answer comes although nothing of the body was sent."""
    request = http_request("POST", path, content_type=kind, content_length=str(30 * 2**20))
    with house.server.connect() as connection:
        connection.sendall(request)
        assert read_until(connection, b"\r\n").startswith(b"HTTP/1.1 401 ")


def test_the_placeholder_opens_nothing_where_keys_are_needed(visit: Visit) -> None:
    assert visit("local").status == 401


def test_a_foreign_page_is_not_the_local_principal(start: Start) -> None:
    server = start()
    assert chat(server, None, origin="https://evil.example").status == 403
    assert chat(server, None, origin="null").status == 403
    assert chat(server, None, origin=f"http://localhost:{server.port}").status == 200
    preflight = server.ask("OPTIONS", "/v1/chat/completions", headers={"origin": "https://evil.example"})
    assert preflight.status == 405
    assert server.chat(key="local").status == 200, "clients that insist on a key say `local`"
    assert not any(name.startswith("access-control") for name in preflight.headers)


def test_a_store_that_fails_is_503_and_no_failure(start: Start, make_key: MakeKey) -> None:
    server = start(auth__local="false")
    known, unknown = make_key(), make_key("bob")
    assert server.chat(key=known).status == 200
    with sqlite3.connect(server.home / "quintet.db") as database:
        database.execute("ALTER TABLE keys RENAME TO hidden")
    database.close()
    answers = [server.chat(key=unknown) for _ in range(8)]
    assert [answer.status for answer in answers] == [503] * 8
    assert answers[0].json["error"]["code"] == "store_unavailable"
    assert answers[0].headers["retry-after"] == "2"
    with sqlite3.connect(server.home / "quintet.db") as database:
        database.execute("ALTER TABLE hidden RENAME TO keys")
    database.close()
    assert server.chat(key=unknown).status == 200


def test_a_writer_that_holds_the_database_disturbs_nobody(start: Start, make_key: MakeKey) -> None:
    server = start(auth__local="false")
    known, unknown = make_key(), make_key("bob")
    assert server.chat(key=known).status == 200
    with sqlite3.connect(server.home / "quintet.db", isolation_level=None) as holder:
        holder.execute("BEGIN EXCLUSIVE")
        assert server.chat(key=known).status == 200
        assert server.chat(key=unknown).status in (200, 503)
        assert server.chat(key=WRONG).status in (401, 503)
    holder.close()
    assert server.chat(key=unknown).status == 200


def test_another_address_needs_keys(start: Start, make_key: MakeKey) -> None:
    server = start(host="0.0.0.0")
    assert any("quintet keys create --owner" in line for line in server.lines)
    assert server.chat().status == 401
    assert server.chat(key="local").status == 401
    assert server.chat(key=make_key()).status == 200
    assert server.ask("GET", "/health", headers={"host": "my.name"}).status == 200


def test_ipv6_loopback(start: Start) -> None:
    if not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    try:
        server = start(host="::1")
    except AssertionError:
        pytest.skip("no IPv6 loopback here")
    with socket.create_connection(("::1", server.port), timeout=10) as connection:
        connection.sendall(http_request("GET", "/v1/models", host=f"[::1]:{server.port}", connection="close"))
        assert connection.recv(100).startswith(b"HTTP/1.1 200")
