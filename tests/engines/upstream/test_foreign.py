"""A foreign server that misbehaves in every way we could think of, and what its callers hear of it."""

import socket
import struct
import threading
import time

import pytest

from quintet.core.errors import (
    ContextTooLong,
    DeadlineExceeded,
    EngineFailed,
    InvalidRequest,
    LoadFailed,
    NotReady,
    Overloaded,
    WorkerLost,
)
from quintet.core.requests import (
    Detail,
    Limits,
    Sampling,
)
from tests.engines.upstream.foreign import (
    DONE,
    GOOD,
    answer,
    ask,
    event,
    stream,
    text_chunk,
    until_gone,
)
from tests.support.server import wait_until


@pytest.mark.parametrize(
    ("status", "headers", "error", "code", "retry_after"),
    [
        (401, {}, EngineFailed, "upstream_refused_key", None),
        (403, {}, EngineFailed, "upstream_refused_key", None),
        (404, {}, LoadFailed, "upstream_model_not_found", 60),
        (429, {"retry_after": "7"}, Overloaded, "model_overloaded", 7),
        (429, {}, Overloaded, "model_overloaded", 1),
        (429, {"retry_after": "soon"}, Overloaded, "model_overloaded", 1),
        (503, {"retry_after": "86400"}, NotReady, "upstream_not_ready", 60),
        (503, {}, NotReady, "upstream_not_ready", 5),
        (500, {}, EngineFailed, "upstream_failed", None),
        (418, {}, EngineFailed, "upstream_failed", None),
        (504, {}, DeadlineExceeded, "deadline_exceeded", 1),
        (302, {"location": "http://127.0.0.1:1/v1"}, EngineFailed, "upstream_failed", None),
        (206, {}, EngineFailed, "upstream_failed", None),
    ],
)
def test_statuses(foreign, engine, status, headers, error, code, retry_after):
    foreign.replies(status, b"secret inside", **headers)
    with pytest.raises(error) as refusal:
        answer(engine)
    assert type(refusal.value) is error
    assert (refusal.value.code, refusal.value.retry_after) == (code, retry_after)
    assert "secret" not in refusal.value.message
    foreign.says(*GOOD)
    assert answer(engine).choices[0].text == "one two", "the engine lives on"


@pytest.mark.parametrize(
    ("body", "message", "param"),
    [
        ({"error": {"message": "`top_p` is too large", "param": "top_p"}}, "`top_p` is too large", "top_p"),
        ({"error": {"message": "bad\r\n\x1b[31mline", "param": "a b"}}, "bad [31mline", None),
        ({"error": "plain words"}, "plain words", None),
        ({"detail": "words of a framework"}, "words of a framework", None),
        ({"message": "no file /home/secret/model.bin at http://10.0.0.1/x"}, "no file … at …", None),
        ({"error": {"message": "x" * 5000}}, "x" * 299 + "…", None),
        ({"error": {"message": 7}}, "it did not say why.", None),
        ([1, 2], "it did not say why.", None),
        (b"<html>", "it did not say why.", None),
        (b"[" * 20_000, "it did not say why.", None),
    ],
)
def test_refused_requests_say_why(foreign, engine, body, message, param):
    foreign.replies(400, body)
    with pytest.raises(InvalidRequest) as refusal:
        answer(engine)
    assert refusal.value.message == f"The server behind this model refused the request: {message}"
    assert refusal.value.param == param


def test_too_long_a_prompt_is_known_as_such(foreign, engine):
    foreign.replies(
        400, {"error": {"message": "This model's maximum context length is 8 tokens.", "code": 400}}
    )
    with pytest.raises(ContextTooLong):
        answer(engine)


@pytest.mark.parametrize(
    "pieces",
    [
        (b"data: {broken\n\n",),
        (b"data: [1]\n\n",),
        (b'data: {"choices": 5}\n\n',),
        (b'data: {"choices": [5]}\n\n',),
        (event({"choices": [{"index": 1, "delta": {"content": "x"}}]}),),
        (event({"choices": [{"index": "0", "delta": {"content": "x"}}]}),),
        (event({"choices": [{"index": 0, "delta": {"content": ["x"]}}]}),),
        (event({"choices": [{"index": 0, "delta": "x"}]}),),
        (b'data: {"choices": [{"index": 0, "delta": {"content": "\xff"}}]}\n\n',),
        (b'data: {"choices": [{"index": 0, "delta": {"content": "\\ud800"}}]}\n\n',),
        (b"data: " + b"[" * 5000 + b"\n\n",),
        (b"data: " + b"x" * (1024 * 1024 + 10),),
        (b"data: " + b"x" * 700_000 + b"\n", b"data: " + b"x" * 700_000 + b"\n"),
        (
            event(
                {
                    "choices": [
                        {"index": 0, "delta": {"tool_calls": [{"index": 3, "function": {"name": "f"}}]}}
                    ]
                }
            ),
        ),
        (event({"choices": [{"index": 0, "delta": {"tool_calls": [{"index": 0, "function": {}}]}}]}),),
    ],
)
def test_nonsense_is_an_error_of_the_engine(foreign, engine, pieces):
    foreign.says(text_chunk("one"), *pieces)
    with pytest.raises(EngineFailed) as failure:
        answer(engine)
    assert failure.value.code == "upstream_malformed"


def test_nonsense_in_log_probabilities(foreign, engine):
    for logprobs in (5, {"content": [{}]}, {"content": [{"token": "a", "logprob": "x"}]}, {"tokens": ["a"]}):
        foreign.says(text_chunk("a", logprobs=logprobs), DONE)
        with pytest.raises(EngineFailed):
            answer(engine, ask(detail=Detail(logprobs=True)))


@pytest.mark.parametrize("content_type", ["application/json", "text/html"])
def test_an_answer_that_is_no_stream(foreign, engine, content_type):
    foreign.replies(200, b'{"choices": []}', content_type=content_type)
    with pytest.raises(EngineFailed):
        answer(engine)


def test_a_compressed_answer_is_refused(foreign, engine):
    foreign.replies(200, b"x", content_type="text/event-stream", content_encoding="gzip")
    with pytest.raises(EngineFailed):
        answer(engine)


@pytest.mark.parametrize("pieces", [(), (text_chunk("one"),), (text_chunk("one"), DONE)])
def test_an_answer_without_an_end_is_never_taken_for_whole(foreign, engine, pieces):
    foreign.says(*pieces)
    with pytest.raises(WorkerLost):
        answer(engine)


def test_a_connection_given_up_by_the_server_is_no_error(foreign, engine):
    """One request falls on the floor without a word, as when an idle connection is closed just then; not two."""
    foreign.answers.append(lambda handler: None)
    foreign.says(*GOOD)
    assert answer(engine).choices[0].text == "one two"
    foreign.answers += [lambda handler: None] * 2
    with pytest.raises(WorkerLost):
        answer(engine)
    assert len(foreign.bodies) == 4


def test_a_reset_connection(foreign, engine):
    def reset(handler):
        stream(handler, text_chunk("one"))
        handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        handler.connection.close()

    foreign.answers.append(reset)
    with pytest.raises(WorkerLost):
        answer(engine)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"message": "it failed", "code": 500}, EngineFailed),
        ("it failed", EngineFailed),
        ({"message": "bad field", "code": 400}, InvalidRequest),
        ({"message": "busy", "code": 503}, NotReady),
    ],
)
def test_errors_within_a_stream(foreign, engine, error, kind):
    foreign.says(text_chunk("one"), event({"error": error}))
    with pytest.raises(kind):
        answer(engine)


def test_silence_ends_by_itself(foreign):
    engine = foreign.open(read_seconds=0.3)
    released = threading.Event()

    def silent(handler):
        stream(handler, text_chunk("one"))
        released.wait(10)

    try:
        foreign.answers.append(silent)
        with pytest.raises(DeadlineExceeded):
            answer(engine)
    finally:
        released.set()
        engine.close()


def test_a_flood_is_bounded(foreign, engine):
    """More pieces than tokens were asked for end the request; without a limit the reader simply doesn't read ahead."""
    foreign.answers.append(lambda handler: until_gone(handler, foreign, text_chunk("word") * 100))
    with pytest.raises(EngineFailed, match="more than it was asked"):
        answer(engine, ask(limits=Limits(max_new_tokens=10)))
    assert foreign.gone.wait(5), "its connection is closed"
    foreign.gone.clear()
    foreign.answers.append(lambda handler: until_gone(handler, foreign, text_chunk("word") * 100))
    engine.submit(1, engine.prepare(ask()))
    wait_until(lambda: len(engine._outbox._outputs) >= 2048)
    sizes = []
    until = time.monotonic() + 0.3
    while time.monotonic() < until:
        sizes.append(len(engine._outbox._outputs))
        time.sleep(0.02)
    assert max(sizes) <= 2048 + 1
    assert len(engine.step()) >= 2048
    wait_until(lambda: len(engine.step()) > 100)
    engine.cancel(1)
    assert foreign.gone.wait(5)


def test_cancel_closes_the_connection_at_once(foreign, engine):
    foreign.answers.append(lambda handler: until_gone(handler, foreign, text_chunk("word")))
    engine.submit(1, engine.prepare(ask()))
    wait_until(engine.step)
    engine.cancel(1)
    assert foreign.gone.wait(2)
    assert not engine.busy()
    foreign.says(*GOOD)
    assert answer(engine).choices[0].text == "one two"


def test_nobody_there(foreign):
    """A server of others may be down when we start and while we run; requests are told to come again."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{probe.getsockname()[1]}/v1"
    engine = foreign.open(url=url)
    try:
        with pytest.raises(NotReady) as refusal:
            answer(engine)
        assert (refusal.value.code, refusal.value.retry_after) == ("upstream_unreachable", 5)
        assert not engine.busy()
    finally:
        engine.close()


def test_a_server_that_comes_back_is_looked_at_again(foreign):
    engine = foreign.open(health_seconds=0.05)
    try:
        foreign.healthy = False
        wait_until(lambda: engine._silent > 1)
        foreign.listing["data"][0]["owned_by"] = "vllm"
        foreign.healthy = True
        wait_until(lambda: engine._silent == 0)
        engine.prepare(ask(sampling=Sampling(top_k=3)))
    finally:
        engine.close()


def test_a_broken_list_of_models_is_no_obstacle(foreign):
    for listing in ([], {"data": 5}, {"data": [7, {"id": 3}]}):
        foreign.listing = listing
        engine = foreign.open()
        foreign.says(*GOOD)
        assert answer(engine).choices[0].text == "one two"
        engine.close()
