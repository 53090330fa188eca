"""What the real engine does for many at once is what it does for one (reliability oracle: no cross-talk)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from quintet.store.keys import open_key_store
from tests.e2e.conftest import wait_idle
from tests.support.server import Answer, RunningServer

BLOCK = 32
"""Tokens in a block of the cache; only whole blocks are used again."""
WORDS = ("hello", "world", "red", "blue", "circle", "one", "two", "three")
Body = dict[str, Any]


def mixed(number: int) -> tuple[str, Body]:
    """One of 64 different requests: greedy and seeded, whole and streamed, through three routes."""
    text = f"{number} " + " ".join(WORDS[(number * step) % len(WORDS)] for step in range(1, 3 + number % 20))
    stream = number % 3 == 0
    if number % 4 == 3:
        sampled = {"seed": number, "do_sample": True, "temperature": 1.1, "top_k": 50, "top_p": 0.9}
        parameters = {"max_new_tokens": 24, "stop": ["zz"], **(sampled if number % 8 == 3 else {})}
        return "/generate", {"inputs": text, "stream": stream, "parameters": parameters}
    sampling: Body = {"temperature": 0}
    if number % 2:
        sampling = {"seed": number, "temperature": 0.5 + number % 5 / 4, "repetition_penalty": 1.1, "n": 2}
    body = {
        "model": "tiny",
        "max_tokens": 24,
        "stream": stream,
        "logit_bias": {"2": number % 7 - 5},
        **sampling,
    }
    if number % 8 == 4:
        return "/v1/completions", {**body, "prompt": text}
    return "/v1/chat/completions", {**body, "messages": [{"role": "user", "content": text}]}


def says(answer: Answer) -> list[str]:
    """The text of every choice, however it was sent."""
    assert answer.status == 200, answer.body
    if not answer.headers["content-type"].startswith("text/event-stream"):
        found = answer.json
        if "generated_text" in found:
            return [found["generated_text"]]
        return [one.get("text", one.get("message", {}).get("content")) for one in found["choices"]]
    lines = [line for line in answer.body.decode().splitlines() if line.startswith("data:")]
    events = [json.loads(line[5:]) for line in lines if "[DONE]" not in line]
    if "generated_text" in events[-1]:
        return [events[-1]["generated_text"]]
    texts = [""] * (1 + max(one["index"] for event in events for one in event["choices"]))
    for event in events:
        for one in event["choices"]:
            texts[one["index"]] += one.get("text") or one.get("delta", {}).get("content") or ""
    return texts


def test_sixty_four_at_once_get_what_each_gets_alone(server: RunningServer) -> None:
    asked = [mixed(number) for number in range(64)]

    def ask(one: tuple[str, Body]) -> list[str]:
        return says(server.ask("POST", *one))

    alone = [ask(one) for one in asked]
    assert len({str(texts) for texts in alone}) > 56, "different requests have different answers"
    for _ in range(2):
        with ThreadPoolExecutor(64) as pool:
            assert list(pool.map(ask, asked)) == alone
    wait_idle(server)


@pytest.fixture
def keys(server: RunningServer) -> Iterator[dict[str, str]]:
    store = open_key_store(server.home / "quintet.db", server.home / "pepper")
    try:
        yield {owner: store.create(owner) for owner in ("ada", "bob")}
    finally:
        store.database.close()


def test_the_second_turn_of_a_chat_is_read_from_the_cache(
    server: RunningServer, keys: dict[str, str]
) -> None:
    words = (
        "tell me of one red circle and two blue ones, what is the world of three, and which is like no other"
    )

    def turn(owner: str, messages: list[Body]) -> tuple[str, Body]:
        body = {"model": "tiny", "messages": messages, "max_tokens": 20, "temperature": 0}
        answer = server.ask(
            "POST", "/v1/chat/completions", body, {"authorization": f"Bearer {keys[owner]}"}
        ).json
        return answer["choices"][0]["message"]["content"], answer["usage"]

    first = [{"role": "user", "content": words}]
    text, usage = turn("ada", first)
    assert usage["prompt_tokens_details"]["cached_tokens"] == 0
    assert usage["prompt_tokens"] > 2 * BLOCK
    second = [*first, {"role": "assistant", "content": text}, {"role": "user", "content": "and then"}]
    reused, later = turn("ada", second)
    assert later["prompt_tokens_details"]["cached_tokens"] >= usage["prompt_tokens"] // BLOCK * BLOCK
    assert later["prompt_tokens_details"]["cached_tokens"] % BLOCK == 0
    fresh, others = turn("bob", second)
    assert others["prompt_tokens_details"]["cached_tokens"] == 0, "no owner can see what another one asked"
    assert fresh == reused, "reusing changes nothing but the time"
    assert server.ask("GET", "/metrics").body.count(b'quintet_tokens_total{kind="cached",model="tiny"}') == 1
