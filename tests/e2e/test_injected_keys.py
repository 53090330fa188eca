"""Database queries written into keys are wrong keys and nothing else (reliability A-06)."""

from __future__ import annotations

import itertools
import sqlite3
import statistics
import time
from collections.abc import Iterator

import pytest

from quintet.store.keys import open_key_store
from tests.support.server import Answer, RunningServer

BODY = {"model": "echo", "messages": [{"role": "user", "content": "hello"}]}
WRONG = "qt_0000000000_" + "0" * 43
QUERIES = [
    "' OR '1'='1",
    "' OR 1=1--",
    '" OR ""="',
    "' OR pg_sleep(8)--",
    "'; SELECT pg_sleep(8)--",
    "' OR randomblob(1000000000) NOTNULL--",
    "' UNION SELECT id, owner, secret_hash FROM keys--",
    "'; DROP TABLE keys;--",
    "'; UPDATE keys SET revoked = 0;--",
    "'; ATTACH DATABASE '/tmp/x' AS x;--",
    "') OR EXISTS(SELECT 1 FROM sqlite_master) --",
    "x%' OR owner LIKE '%",
    "\\'; DROP TABLE keys;--",
    "%27%20OR%201%3D1--",
    "{owner}",
    "%s%s%n",
    ":id",
    "?",
]


class Visitor:
    """Asks from a new address each time, so that no ban stands before the check."""

    def __init__(self, server: RunningServer) -> None:
        self.server = server
        self.addresses = (f"10.1.{number // 250}.{number % 250}" for number in itertools.count())

    def ask(self, key: str) -> tuple[Answer, float]:
        headers = {"x-forwarded-for": next(self.addresses), "authorization": f"Bearer {key}"}
        began = time.perf_counter()
        answer = self.server.ask("POST", "/v1/chat/completions", BODY, headers)
        return answer, time.perf_counter() - began


@pytest.fixture(scope="module")
def visitor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Visitor]:
    home = tmp_path_factory.mktemp("home")
    with RunningServer.start(home, auth__local="false", auth__trusted_proxies='["127.0.0.1"]') as running:
        yield Visitor(running)


def rows(server: RunningServer) -> tuple[list[tuple[object, ...]], list[tuple[object, ...]]]:
    """Every key, and every table with its definition."""
    database = sqlite3.connect(server.home / "quintet.db")
    try:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        keys = database.execute("SELECT id, owner, revoked FROM keys ORDER BY id").fetchall()
        return keys, database.execute("SELECT name, sql FROM sqlite_master ORDER BY name").fetchall()
    finally:
        database.close()


def test_queries_in_keys_are_wrong_keys(visitor: Visitor) -> None:
    server = visitor.server
    store = open_key_store(server.home / "quintet.db", server.home / "pepper")
    try:
        key = store.create("ada")
    finally:
        store.database.close()
    assert visitor.ask(key)[0].status == 200
    before = rows(server)
    attempts = [
        form for query in QUERIES for form in (query, f"qt_{query}_{'0' * 43}", key[:14] + query, key + query)
    ]
    plain, queried = [], []
    for attempt in attempts:
        answer, seconds = visitor.ask(attempt)
        assert answer.status == 401, attempt
        assert answer.json["error"]["code"] == "invalid_api_key"
        assert attempt not in answer.body.decode()
        queried.append(seconds)
        wrong, seconds = visitor.ask(WRONG)
        assert (wrong.status, wrong.json["error"]["code"]) == (401, "invalid_api_key")
        plain.append(seconds)
    assert statistics.median(queried) < 2 * statistics.median(plain) + 0.002
    assert max(queried) < 2, "nothing slept"
    assert rows(server) == before
    assert visitor.ask(key)[0].status == 200
    told = "\n".join(server.log)
    assert not any(query in told for query in ("pg_sleep", "DROP TABLE", "randomblob", "UNION SELECT"))
    assert key not in told


def test_queries_in_a_token_in_the_body_are_too(visitor: Visitor) -> None:
    server, before = visitor.server, rows(visitor.server)
    for query in QUERIES:
        headers = {"x-forwarded-for": next(visitor.addresses)}
        answer = server.ask("POST", "/v1/chat/completions", {**BODY, "token": query}, headers)
        assert answer.status == 401, query
    assert rows(server) == before
