"""A foreign server that misbehaves in every way we could think of, and what its callers hear of it."""

import json
import socket
import struct
import threading
import time

import pytest

from quintet.core.content import Image, Message, ToolCall
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
from quintet.core.events import collect
from quintet.core.requests import (
    Detail,
    EmbeddingRequest,
    Limits,
    Sampling,
    TextRequest,
    TokenizeRequest,
    Tool,
    ToolUse,
)
from tests.engines import contract
from tests.engines.upstream.foreign import DONE, event, stream, text_chunk, until_gone, usage_chunk
from tests.support.server import wait_until

GOOD = (text_chunk("one"), text_chunk(" two", "stop"), usage_chunk(), DONE)


@pytest.fixture
def engine(foreign):
    opened = foreign.open()
    yield opened
    opened.close()


def ask(words="hello", **fields):
    return TextRequest(model="ours", messages=(Message("user", (words,)),), **fields)


def answer(engine, request=None):
    return collect(contract.drive(engine, [request or ask()])[0])


def test_a_whole_answer(foreign, engine):
    foreign.says(b": a comment\n\n", *GOOD)
    outcome = answer(engine)
    assert (outcome.choices[0].text, outcome.choices[0].reason) == ("one two", "eos")
    assert (outcome.finished.usage.prompt_tokens, outcome.finished.usage.completion_tokens) == (5, 2)
    assert outcome.finished.seed == foreign.bodies[0]["seed"]
    assert foreign.bodies[0]["model"] == "theirs"
    assert foreign.paths == ["/v1/chat/completions"]


def test_bytes_that_come_one_at_a_time(foreign, engine):
    data = b"".join(GOOD).replace(b"\n", b"\r\n")
    foreign.says(*(data[i : i + 1] for i in range(len(data))))
    assert answer(engine).choices[0].text == "one two"


def test_the_last_event_may_lack_its_empty_line(foreign, engine):
    foreign.says(text_chunk("one"), text_chunk("", "length").rstrip())
    assert (answer(engine).choices[0].text, answer_reason(foreign, engine)) == ("one", "length")


def answer_reason(foreign, engine):
    foreign.says(text_chunk("x", "length"))
    return answer(engine).choices[0].reason


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


def test_the_key_is_sent_and_never_shown(foreign, monkeypatch):
    monkeypatch.setenv("THEIR_KEY", "sk-secret")
    engine = foreign.open(api_key_env="THEIR_KEY")
    try:
        foreign.says(*GOOD)
        answer(engine)
        assert all(
            headers["authorization"] == "Bearer sk-secret" for headers in map(lowered, foreign.headers)
        )
    finally:
        engine.close()


def lowered(headers):
    return {name.lower(): value for name, value in headers.items()}


def test_tool_calls(foreign, engine):
    def part(index, **function):
        call = {"index": index, "function": function}
        if "name" in function:
            call |= {"id": f"call-{index}", "type": "function"}
        return event({"choices": [{"index": 0, "delta": {"tool_calls": [call]}, "finish_reason": None}]})

    foreign.says(
        part(0, name="weather", arguments=""),
        part(0, arguments='{"city":'),
        part(0, arguments=' "Rome"}'),
        part(1, name="time", arguments="{}"),
        text_chunk(None, "tool_calls"),
        usage_chunk(),
        DONE,
    )
    use = ToolUse(
        tools=(Tool(name="weather", parameters='{"type": "object"}', strict=True),),
        choice="required",
        parallel=False,
    )
    called = Message("assistant", (), tool_calls=(ToolCall("a", "weather", "{}"),))
    told = Message("tool", ("sunny",), tool_call_id="a", name="weather")
    request = TextRequest(model="ours", messages=(Message("user", ("hi",)), called, told), tool_use=use)
    choice = answer(engine, request).choices[0]
    assert [(call.id, call.name, call.arguments) for call in choice.tool_calls] == [
        ("call-0", "weather", '{"city": "Rome"}'),
        ("call-1", "time", "{}"),
    ]
    assert choice.reason == "tool_calls"
    body = foreign.bodies[0]
    assert body["tools"][0]["function"] == {
        "name": "weather",
        "parameters": {"type": "object"},
        "strict": True,
    }
    assert (body["tool_choice"], body["parallel_tool_calls"]) == ("required", False)
    assert body["messages"][1]["tool_calls"][0]["function"] == {"name": "weather", "arguments": "{}"}
    assert body["messages"][2] == {"role": "tool", "content": "sunny", "tool_call_id": "a", "name": "weather"}


def test_pictures_go_as_data(foreign):
    engine = foreign.open(task="vision")
    try:
        foreign.says(*GOOD)
        parts = ("what is", Image(data=b"\x89PNG123"))
        answer(engine, TextRequest(model="ours", messages=(Message("user", parts),)))
        sent = foreign.bodies[0]["messages"][0]["content"]
        assert sent[0] == {"type": "text", "text": "what is"}
        assert sent[1]["image_url"]["url"] == "data:image/png;base64,iVBORzEyMw=="
        contract.check_unsupported(engine, TextRequest(model="ours", prompt=parts))
    finally:
        engine.close()


def test_two_choices_and_log_probabilities_of_vllm(foreign):
    foreign.listing["data"][0] |= {"owned_by": "vllm", "max_model_len": 4096}
    engine = foreign.open()
    try:
        assert (engine.info().version, engine.info().context_length) == ("vllm", 4096)
        columns = {"tokens": ["a"], "token_logprobs": [-0.5], "top_logprobs": [{"b": -0.7, "a": -0.5}]}

        def piece(index, reason=None, stop=None):
            choice = {"index": index, "text": "a", "logprobs": columns, "finish_reason": reason}
            return event({"choices": [choice | {"stop_reason": stop, "token_ids": [17]}]})

        foreign.says(piece(1), piece(0, "stop", "x"), piece(1, "stop"), usage_chunk(3, 3), DONE)
        limits = Limits(max_new_tokens=9, stop=("x",), keep_stop=True, truncate=50)
        request = TextRequest(
            model="ours",
            prompt=("p",),
            n=2,
            best_of=2,
            limits=limits,
            detail=Detail(logprobs=True, top_logprobs=2),
            sampling=Sampling(top_k=3, min_p=0.1, repetition_penalty=1.1, seed=2**40),
            adapter="poet",
        )
        outcome = answer(engine, request)
        assert [choice.reason for choice in outcome.choices] == ["stop", "eos"]
        assert [token.id for token in outcome.choices[1].tokens] == [17, 17]
        assert [other.raw for other in outcome.choices[0].tokens[0].top] == [b"a", b"b"]
        assert outcome.choices[0].mean_logprob == -0.5
        assert outcome.finished.seed == 2**40
        body = foreign.bodies[0]
        expected = {
            "model": "poet",
            "top_k": 3,
            "min_p": 0.1,
            "repetition_penalty": 1.1,
            "n": 2,
            "logprobs": 2,
        }
        expected |= {"include_stop_str_in_output": True, "stop": ["x"], "truncate_prompt_tokens": 50}
        assert body.items() >= expected.items()
        assert foreign.paths == ["/v1/completions"]
    finally:
        engine.close()


def test_what_a_plain_server_can_not_do_is_named(engine):
    for fields in (
        {"sampling": Sampling(top_k=3)},
        {"sampling": Sampling(min_p=0.1)},
        {"sampling": Sampling(typical_p=0.9)},
        {"sampling": Sampling(repetition_penalty=1.2)},
        {"limits": Limits(ignore_eos=True)},
        {"limits": Limits(truncate=5)},
        {"adapter": "poet"},
        {"n": 1, "best_of": 2},
        {"detail": Detail(prefill=True)},
    ):
        contract.check_unsupported(engine, ask(**fields))
    contract.check_unsupported(engine, TokenizeRequest(model="ours", prompt="x"))
    contract.check_unsupported(engine, EmbeddingRequest(model="ours", texts=("x",)))


def test_embeddings_are_unit_vectors_in_order(foreign):
    engine = foreign.open(task="embedding")
    try:
        data = [{"index": 1, "embedding": [0, 2, 0]}, {"index": 0, "embedding": [3, 4, 12]}]
        foreign.replies(200, {"data": data, "usage": {"prompt_tokens": 4}})
        request = EmbeddingRequest(model="ours", texts=("a", "b"), dimensions=2)
        outcome = answer(engine, request)
        vectors = [struct.unpack("<2f", each.vector) for each in outcome.embeddings]
        assert vectors == [pytest.approx((0.6, 0.8)), (0.0, 1.0)]
        assert outcome.finished.usage.prompt_tokens == 4
        for wrong in (
            {},
            {"data": data[:1]},
            {"data": [data[0], data[0]]},
            {"data": [{"index": 0}, data[0]]},
        ):
            foreign.replies(200, wrong)
            with pytest.raises(EngineFailed):
                answer(engine, request)
        foreign.replies(200, {"data": data})
        with pytest.raises(InvalidRequest, match="dimensions"):
            answer(engine, EmbeddingRequest(model="ours", texts=("a", "b"), dimensions=4))
    finally:
        engine.close()


def test_tokens_of_vllm(foreign):
    foreign.listing["data"][0]["owned_by"] = "vllm"
    engine = foreign.open()
    try:
        foreign.replies(
            200, {"count": 2, "tokens": [5, 6], "token_strs": ["Hé".encode().decode("latin-1"), "Ġyou"]}
        )
        spans = answer(engine, TokenizeRequest(model="ours", prompt="Hé you")).tokenized.tokens
        assert [(span.id, span.text, span.start, span.end) for span in spans] == [
            (5, "Hé", 0, 2),
            (6, " you", 2, 6),
        ]
        assert foreign.paths == ["/tokenize"]
    finally:
        engine.close()


def test_metrics_are_labelled_and_cleaned(foreign):
    foreign.metrics_text = (
        '# HELP a_total Things.\n# TYPE a_total counter\na_total{model="x",kind="y"} 3 1700000000\na_total 4\n'
        'quintet_requests_total 9\nnot a metric\nb{broken 1\nc{x="\\""} NaN\n'
    )
    engine = foreign.open(health_seconds=0.05)
    try:
        wait_until(engine.metrics)
        assert engine.metrics().splitlines() == [
            "# HELP a_total Things.",
            "# TYPE a_total counter",
            'a_total{model="ours",exported_model="x",kind="y"} 3',
            'a_total{model="ours"} 4',
            'c{model="ours",x="\\""} NaN',
        ]
    finally:
        engine.close()


def test_answers_of_two_requests_do_not_mix(foreign, engine):
    gate = threading.Event()

    def slow(handler):
        stream(handler, text_chunk("slow"))
        gate.wait(10)
        handler.wfile.write(b"".join((text_chunk(" end", "stop"), usage_chunk(), DONE)))

    foreign.answers.append(slow)
    engine.submit(1, engine.prepare(ask("first")))
    wait_until(lambda: foreign.bodies)
    foreign.says(*GOOD)
    engine.submit(2, engine.prepare(ask("second")))
    found = {1: [], 2: []}

    def look():
        for number, output in engine.step():
            found[number].append(output)
        return len(found[2]) >= 4

    wait_until(look)
    gate.set()
    while engine.busy():
        look()
    assert [collect(found[number]).choices[0].text for number in (1, 2)] == ["slow end", "one two"]
    assert json.dumps(foreign.bodies[1]["messages"]) == '[{"role": "user", "content": "second"}]'


def test_a_broken_list_of_models_is_no_obstacle(foreign):
    for listing in ([], {"data": 5}, {"data": [7, {"id": 3}]}):
        foreign.listing = listing
        engine = foreign.open()
        foreign.says(*GOOD)
        assert answer(engine).choices[0].text == "one two"
        engine.close()
