"""What is asked of a foreign server and how its answers are read, with a server that a test scripts."""

import json
import struct
import threading
import time

import pytest

from quintet.core.content import Image, Message, ToolCall
from quintet.core.errors import (
    EngineFailed,
    InvalidRequest,
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
from tests.engines.upstream.foreign import DONE, GOOD, answer, ask, event, stream, text_chunk, usage_chunk
from tests.support.server import wait_until


def test_a_whole_answer(foreign, engine):
    foreign.says(b": a comment\n\n", *GOOD)
    outcome = answer(engine)
    assert (outcome.choices[0].text, outcome.choices[0].reason) == ("one two", "eos")
    assert (outcome.finished.usage.prompt_tokens, outcome.finished.usage.completion_tokens) == (5, 2)
    assert outcome.finished.seed == foreign.bodies[0]["seed"]
    assert foreign.bodies[0]["model"] == "theirs"
    assert foreign.paths == ["/v1/chat/completions"]


def test_a_connection_is_used_again_after_a_whole_stream(foreign, engine):
    """One that stays open after its end mark is left behind, and costs next to nothing."""
    ports = []

    def chunked(handler, *, ends):
        ports.append(handler.client_address[1])
        handler.close_connection = False
        data = b"".join(GOOD)
        handler.send_response(200)
        handler.send_header("content-type", "text/event-stream")
        handler.send_header("transfer-encoding", "chunked")
        handler.end_headers()
        handler.wfile.write(b"%x\r\n%s\r\n" % (len(data), data) + (b"0\r\n\r\n" if ends else b""))

    for ends in (True, False, True):
        foreign.answers.append(lambda handler, ends=ends: chunked(handler, ends=ends))
        began = time.monotonic()
        assert answer(engine).choices[0].text == "one two"
        assert time.monotonic() - began < 1
    assert ports[0] == ports[1] != ports[2]


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
            {"data": [data[0], {"index": 0, "embedding": [1]}]},
            {"data": [data[0], {"index": 0, "embedding": ["nan", 1, 1]}]},
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
