"""The engine over llama.cpp's own server: what every engine promises, and what this one adds."""

import http.client
import json
import os
import signal
import time
from pathlib import Path

import pytest

from quintet.core.content import Message
from quintet.core.errors import ContextTooLong, InvalidRequest, LoadFailed
from quintet.core.events import Token, Tokenized, collect
from quintet.core.requests import (
    Detail,
    EmbeddingRequest,
    Grammar,
    Limits,
    Sampling,
    TextRequest,
    TokenizeRequest,
)
from quintet.engines.upstream import open_engine
from quintet.engines.upstream.engine import Broken
from tests.engines import contract
from tests.engines.upstream.conftest import llama_model
from tests.support.server import wait_until

GREEDY = Sampling(temperature=0)
FEW = Limits(max_new_tokens=6)
ENDLESS = Limits(max_new_tokens=7000, ignore_eos=True)


def ask(words="hello you", **fields):
    return TextRequest(model="foreign", messages=(Message("user", (words,)),), **{"limits": FEW, **fields})


def raw(prompt="hello you", **fields):
    return TextRequest(model="foreign", prompt=(prompt,), **{"limits": FEW, **fields})


def answer(engine, request):
    return collect(contract.drive(engine, [request])[0])


def pid_of(engine):
    """The process id of llama.cpp's server: the keeper's only child."""
    keeper = engine._command._process.pid
    return int(Path(f"/proc/{keeper}/task/{keeper}/children").read_text())


def get(engine, path):
    host = engine._upstream.root.removeprefix("http://")
    connection = http.client.HTTPConnection(host, timeout=5)
    try:
        connection.request("GET", path)
        return json.loads(connection.getresponse().read())
    finally:
        connection.close()


@pytest.mark.parametrize(
    "request_",
    [
        ask(),
        ask(sampling=GREEDY, detail=Detail(logprobs=True, top_logprobs=5)),
        ask(n=2, best_of=2, sampling=Sampling(seed=1)),
        raw(detail=Detail(logprobs=True)),
        raw(n=2, best_of=2),
        TextRequest(model="foreign", prompt_ids=(1, 300, 301), limits=FEW),
        TokenizeRequest(model="foreign", prompt="hello you"),
    ],
)
def test_grammar(llama, request_):
    contract.check_grammar(llama, request_)


def test_the_contract_of_engines(llama, gguf_file):
    contract.check_seed(llama, ask(sampling=Sampling(temperature=0.8, seed=7)), [ask("others")])
    contract.check_cancel(llama, ask(limits=Limits(max_new_tokens=300)))
    contract.check_cancel_spares_others(llama, ask(sampling=GREEDY))
    contract.check_unsupported(llama, ask(detail=Detail(prefill=True)))
    contract.check_close(lambda: open_engine(llama_model(gguf_file)))


def test_what_it_says_of_itself(llama):
    info = llama.info()
    assert (info.version, info.context_length, info.vocabulary_size) == ("llama.cpp", 8192, 614)


def test_tokens_come_one_by_one_with_their_ids(llama):
    outcome = answer(llama, ask(sampling=GREEDY, detail=Detail(logprobs=True, top_logprobs=2)))
    tokens = outcome.choices[0].tokens
    assert len(tokens) == 6
    assert all(token.id > 2 and token.raw.decode() == token.text for token in tokens)
    assert all(token.top[0].id == token.id for token in tokens), "the likeliest was taken"
    assert outcome.finished.usage.completion_tokens == 6
    assert outcome.choices[0].reason == "length"


@pytest.mark.parametrize("keep", [True, False])
def test_stop_strings(llama, keep):
    """Kept ones are found by us, as llama.cpp always cuts them off; either way the text before is the same."""
    plain = answer(llama, ask(sampling=GREEDY, limits=Limits(max_new_tokens=40))).choices[0].text
    stop = plain[len(plain) // 2 : len(plain) // 2 + 4]
    expected = plain[: plain.index(stop)]
    outcome = answer(
        llama, ask(sampling=GREEDY, limits=Limits(max_new_tokens=40, stop=(stop,), keep_stop=keep))
    )
    assert outcome.choices[0].text == expected + (stop if keep else "")
    assert outcome.choices[0].reason == "stop"
    assert 0 < outcome.finished.usage.completion_tokens < 40
    assert outcome.finished.usage.prompt_tokens > 10


def test_a_schema_shapes_the_answer(llama):
    schema = {"type": "object", "properties": {"sunny": {"type": "boolean"}}, "required": ["sunny"]}
    schema["additionalProperties"] = False
    grammar = Grammar(kind="json_schema", text=json.dumps(schema))
    outcome = answer(llama, ask(grammar=grammar, limits=Limits(max_new_tokens=60), sampling=GREEDY))
    assert isinstance(json.loads(outcome.choices[0].text)["sunny"], bool)
    contract.check_unsupported(llama, raw(grammar=grammar))
    contract.check_unsupported(llama, ask(grammar=Grammar(kind="regex", text="[0-9]+", param="grammar")))


def test_tokens_of_a_text(llama):
    (tokenized,) = (
        event
        for event in contract.drive(llama, [TokenizeRequest(model="foreign", prompt="hé you")])[0]
        if isinstance(event, Tokenized)
    )
    text = tokenized.text
    covered = [text[span.start : span.end] for span in tokenized.tokens]
    assert "".join(covered) == "hé you"
    assert tokenized.tokens[0].id == 1
    chat = TokenizeRequest(model="foreign", messages=(Message("user", ("hello",)),))
    assert answer(llama, chat).tokenized.text == "user: hello\nassistant:"


def test_refusals_keep_their_meaning(llama):
    with pytest.raises(ContextTooLong, match="context size") as refusal:
        answer(llama, ask("word " * 9000))
    assert refusal.value.status == 400
    with pytest.raises(InvalidRequest, match="refused the request"):
        answer(llama, ask(grammar=Grammar(kind="json_schema", text='{"type": "nonsense"}')))


def test_cancel_frees_the_slot(llama):
    """Both slots are busy for seconds; a cancel closes the connection, and the server works for others at once."""
    for number in (1, 2):
        llama.submit(number, llama.prepare(ask(limits=ENDLESS)))
    seen = set()

    def both_began() -> bool:
        seen.update(number for number, _ in llama.step())
        return seen == {1, 2}

    wait_until(both_began)
    assert sum(slot["is_processing"] for slot in get(llama, "/slots")) == 2
    llama.cancel(1)
    llama.cancel(2)
    cancelled = time.monotonic()
    wait_until(lambda: not any(slot["is_processing"] for slot in get(llama, "/slots")), 2)
    assert answer(llama, ask()).choices[0].tokens
    assert time.monotonic() - cancelled < 2


def test_metrics_carry_the_models_name(llama):
    answer(llama, ask())
    wait_until(lambda: 'llamacpp:tokens_predicted_total{model="foreign"} ' in llama.metrics(), 5)


def test_a_killed_server_breaks_the_engine_and_a_closed_engine_leaves_nobody(gguf_file):
    engine = open_engine(llama_model(gguf_file))
    server = pid_of(engine)
    engine.submit(1, engine.prepare(ask(limits=ENDLESS)))
    outputs = []

    def began() -> bool:
        outputs.extend(engine.step())
        return bool(outputs)

    wait_until(began)
    assert isinstance(outputs[-1][1], Token)
    os.kill(server, signal.SIGKILL)
    with pytest.raises(Broken, match="exit code 137"):
        wait_until(lambda: all(not isinstance(output, Exception) for _, output in engine.step()) and False, 5)
    assert engine.busy(), "an idle worker must hear of it too"
    engine.close()
    second = open_engine(llama_model(gguf_file))
    server = pid_of(second)
    second.close()
    assert not os.path.exists(f"/proc/{server}")


def test_a_server_that_hangs_is_given_up(gguf_file):
    """A stopped process answers nothing: so many looks later the engine says so, and closing it leaves nobody."""
    engine = open_engine(llama_model(gguf_file))
    server = pid_of(engine)
    try:
        assert answer(engine, ask()).choices[0].tokens
        os.kill(server, signal.SIGSTOP)
        wait_until(engine.busy, 10)
        with pytest.raises(Broken, match="does not answer any more"):
            engine.step()
    finally:
        engine.close()
    assert not os.path.exists(f"/proc/{server}")


def test_embeddings(gguf_file):
    engine = open_engine(llama_model(gguf_file, "embedding=1", "pooling_type=1", task="embedding"))
    try:
        outcome = answer(
            engine, EmbeddingRequest(model="foreign", texts=("hello", "you there"), dimensions=32)
        )
        assert [len(each.vector) for each in outcome.embeddings] == [128, 128]
        assert outcome.embeddings[0].vector != outcome.embeddings[1].vector
        assert outcome.finished.usage.prompt_tokens > 2
    finally:
        engine.close()


def test_a_server_that_can_not_start(tmp_path, gguf_file, capfd):
    started = time.monotonic()
    with pytest.raises(LoadFailed, match="ended before it was ready"):
        open_engine(llama_model(tmp_path / "missing.gguf"))
    assert time.monotonic() - started < 20
    assert "upstream foreign: " in capfd.readouterr().err
