"""What a caller may ask of the embedding engine, what it answers, and what models it takes."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quintet.core.content import Message
from quintet.core.errors import ContextTooLong, EngineFailed, InvalidRequest, LoadFailed, Unsupported
from quintet.core.events import Embedding, Finished, collect
from quintet.core.requests import EmbeddingRequest, ImageRequest, TextRequest, TokenizeRequest
from quintet.engines.embed import inputs
from quintet.engines.embed.engine import EmbeddingEngine, open_engine
from quintet.engines.embed.pooling import pool
from tests.engines import contract
from tests.engines.embed.conftest import Encoders, ask, model_of, vectors
from tests.support.tiny_encoder import WORDS

CONTRACT = [
    ask("hello"),
    ask("hello", "the red circle " * 9, "x"),
    ask(*["one two"] * 100, dimensions=5),
    EmbeddingRequest(model="tiny", ids=((5, 6, 7), (8,))),
    ask(" ", "\n", "🎉"),
]


@pytest.fixture
def bert(engines: dict[str, EmbeddingEngine]) -> EmbeddingEngine:
    return engines["bert"]


@pytest.mark.parametrize("request_", CONTRACT, ids=range(len(CONTRACT)))
def test_grammar_and_cancel(bert: EmbeddingEngine, request_: EmbeddingRequest) -> None:
    contract.check_grammar(bert, request_)
    if len(request_.texts) == 100:
        contract.check_cancel(bert, request_)


def test_rest_of_the_contract(bert: EmbeddingEngine, encoders: Encoders) -> None:
    contract.check_close(lambda: open_engine(model_of(encoders["bert"])))
    for request in (
        ImageRequest(model="tiny", prompts=("red",)),
        TextRequest(model="tiny", messages=(Message("user", ("hello",)),)),
        TokenizeRequest(model="tiny", prompt="hello"),
    ):
        contract.check_unsupported(bert, request)
    assert bert.info().device == "CPU"
    assert bert.info().vocabulary_size == 69


def test_close_with_work_under_way(encoders: Encoders) -> None:
    engine = open_engine(model_of(encoders["bert"]))
    engine.submit(1, engine.prepare(ask(*["one"] * 2048)))
    engine.step()
    engine.close()
    assert not engine.busy()


def test_a_small_request_gets_its_turn_and_a_cancelled_one_is_silent(bert: EmbeddingEngine) -> None:
    bert.submit(1, bert.prepare(ask(*["one two three"] * 2048)))
    bert.step()
    bert.submit(2, bert.prepare(ask("hello")))
    passes, ended = bert.steps, []
    while not ended:
        ended += [number for number, output in bert.step() if isinstance(output, Finished)]
    assert ended == [2]
    assert bert.steps <= passes + 2
    bert.cancel(1)
    assert not bert.busy()
    assert bert.step() == []


def test_cancelling_one_leaves_the_vectors_of_others(bert: EmbeddingEngine) -> None:
    texts = [f"one two {'three ' * (at % 7)}" for at in range(60)]
    expected = vectors(bert, ask(*texts))[0]
    bert.submit(1, bert.prepare(ask(*texts[:50])))
    bert.submit(2, bert.prepare(ask(*texts)))
    found = [output for number, output in bert.step() if number == 2]
    bert.cancel(1)
    while bert.busy():
        outputs = bert.step()
        assert all(number == 2 for number, _ in outputs)
        found += [output for _, output in outputs]
    for one in collect(found).embeddings:
        np.testing.assert_allclose(np.frombuffer(one.vector, "<f4"), expected[one.index], atol=1e-5)


def test_what_nobody_wants_any_more_is_not_read_to_the_end(
    encoders: Encoders, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with a model that is slow: a step ends before the model has, and the worker can look around."""
    bert = open_engine(model_of(encoders["bert"], options={"max_batch_tokens": 50_000}))
    (expected,) = vectors(bert, ask("hello"))[0]
    monkeypatch.setattr("quintet.engines.embed.engine.PART_SECONDS", 0.0)
    many = ask(*["one two three " * 14] * 500)
    for number in (1, 2):
        bert.submit(number, bert.prepare(many))
    assert bert.step() == [], "begun, not finished"
    bert.cancel(1)
    assert bert.busy(), "the other one still wants its part"
    bert.submit(1, bert.prepare(ask("hello")))
    found = {1: [], 2: []}
    while bert.busy():
        for number, output in bert.step():
            found[number].append(output)
    (again,) = collect(found[1]).embeddings
    np.testing.assert_allclose(np.frombuffer(again.vector, "<f4"), expected, atol=1e-5)
    assert len(collect(found[2]).embeddings) == 500
    bert.submit(3, bert.prepare(many))
    assert bert.step() == []
    bert.cancel(3)
    assert not bert.busy()
    assert bert.step() == []
    bert.close()


def test_usage_and_timings(bert: EmbeddingEngine, encoders: Encoders) -> None:
    texts = ("hello world", "red", "the red circle")
    (events,) = contract.drive(bert, [ask(*texts)])
    finished = events[-1]
    assert isinstance(finished, Finished)
    assert finished.usage.prompt_tokens == sum(len(encoders["bert"].ids(text)) for text in texts) == 12
    assert min(dataclasses.astuple(finished.timings)) >= 0
    assert finished.seed is None


def test_ids_of_a_text_are_the_text(bert: EmbeddingEngine, encoders: Encoders) -> None:
    ids = tuple(encoders["bert"].ids("the red circle"))
    by_ids, by_text = vectors(bert, EmbeddingRequest(model="tiny", ids=(ids,)), ask("the red circle"))
    np.testing.assert_allclose(by_ids, by_text, atol=1e-5)


def test_numbers_that_overflow_fail_their_request_alone(encoders: Encoders, copy: Path) -> None:
    reference, weights = encoders["bert"].reference, copy / "openvino_model.bin"
    row = reference.embeddings.word_embeddings.weight[WORDS.index("red") + 4].detach().numpy().tobytes()
    raw = weights.read_bytes()
    assert raw.count(row) == 1
    weights.write_bytes(raw.replace(row, np.full(64, np.nan, np.float32).tobytes()))
    engine = open_engine(model_of(encoders["bert"], path=copy))
    engine.submit(1, engine.prepare(ask("red", "blue", "red blue")))
    engine.submit(2, engine.prepare(ask("blue", "hello")))
    outputs = []
    while engine.busy():
        outputs += engine.step()
    failures = [(number, one) for number, one in outputs if isinstance(one, EngineFailed)]
    assert [number for number, _ in failures] == [1]
    assert failures[0][1].param == "input"
    found = [one for number, one in outputs if number == 2 and isinstance(one, Embedding)]
    assert sorted(one.index for one in found) == [0, 1]
    assert isinstance(outputs[-1][1], Finished)
    engine.close()


# ---------------------------------------------------------------------------------------------- bad requests


def test_context_errors_name_numbers(bert: EmbeddingEngine, encoders: Encoders) -> None:
    with pytest.raises(
        ContextTooLong, match=r"`input` may have at most 48 tokens .* has 62; shorten"
    ) as raised:
        bert.prepare(ask("one " * 60))
    assert raised.value.param == "input"
    assert raised.value.facts == {"prompt_tokens": 62, "max_prompt_tokens": 48}
    with pytest.raises(ContextTooLong, match=r"`input\[1\]` .* has 62"):
        bert.prepare(ask("one", "one " * 60))
    with pytest.raises(ContextTooLong, match=r"`input\[1\]` .* has 49"):
        bert.prepare(EmbeddingRequest(model="tiny", ids=((5,), (5,) * 49)))
    with pytest.raises(ContextTooLong, match=r"5000 characters.* at most 48 tokens.* 3072") as raised:
        bert.prepare(ask(" " * 5000))
    assert not raised.value.facts
    engine = open_engine(model_of(encoders["bert"], max_input_tokens=10))
    with pytest.raises(ContextTooLong, match="at most 10 tokens"):
        engine.prepare(ask("one " * 9))
    engine.close()


def test_too_many_tokens_in_all(bert: EmbeddingEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inputs, "MAX_REQUEST_TOKENS", 30)
    with pytest.raises(InvalidRequest, match="at most 30 tokens in all, but has 33") as raised:
        bert.prepare(ask(*["one"] * 11))
    assert (raised.value.param, raised.value.code) == ("input", "max_tokens_per_request")


@pytest.mark.parametrize("id", [-1, 69, 2**40])
def test_ids_outside_the_vocabulary_are_refused(bert: EmbeddingEngine, id: int) -> None:
    with pytest.raises(InvalidRequest, match=r"`input\[1\]`: token ids must be from 0 to 68"):
        bert.prepare(EmbeddingRequest(model="tiny", ids=((5,), (5, id))))


@pytest.mark.parametrize(
    ("request_", "param"),
    [
        (ask(), "input"),
        (EmbeddingRequest(model="tiny", ids=((),)), "input"),
        (ask("a", dimensions=65), "dimensions"),
        (ask("a", dimensions=0), "dimensions"),
    ],
)
def test_other_refusals(bert: EmbeddingEngine, request_: EmbeddingRequest, param: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        bert.prepare(request_)
    assert raised.value.param == param


def test_a_text_without_a_token_is_refused(engines: dict[str, EmbeddingEngine]) -> None:
    tokenizer = engines["qwen"]._reader._tokenizer
    kept, tokenizer.post_processor = tokenizer.post_processor, None
    try:
        with pytest.raises(InvalidRequest, match="no token"):
            engines["qwen"].prepare(ask("  "))
    finally:
        tokenizer.post_processor = kept


# ------------------------------------------------------------------------------------------------ bad models


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"kv_cache_mb": 3}, "`kv_cache_mb`"),
        ({"threads": True}, "`threads` .* int"),
        ({"threads": -1}, "`threads`"),
        ({"max_batch_tokens": 0}, "at least 1"),
        ({"pooling": "median"}, "mean, cls, last, max"),
    ],
)
def test_wrong_options(encoders: Encoders, options: dict[str, Any], words: str) -> None:
    with pytest.raises(LoadFailed, match=words):
        open_engine(model_of(encoders["bert"], options=options))


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("openvino_model.xml", None, "openvino_model.xml"),
        ("tokenizer.json", None, "tokenizer.json"),
        ("tokenizer.json", "{}", "can't be read"),
        ("config.json", "{", "config.json is not valid JSON"),
        ("modules.json", "[" * 100_000, "modules.json"),
        ("modules.json", '[{"type": "sentence_transformers.models.Dense"}]', "'Dense'.* not supported"),
        ("modules.json", '["a"]', "not supported"),
        ("1_Pooling/config.json", '{"pooling_mode": "weightedmean"}', "'weightedmean'"),
        ("1_Pooling/config.json", '{"pooling_mode": ["cls", "mean"]}', "'cls', 'mean'"),
        (
            "1_Pooling/config.json",
            '{"pooling_mode_cls_token": true, "pooling_mode_max_tokens": true}',
            "'cls_token', 'max_tokens'",
        ),
    ],
)
def test_a_broken_or_unsupported_model_says_what_is_wrong(
    encoders: Encoders, copy: Path, name: str, content: str | None, words: str
) -> None:
    if content is None:
        (copy / name).unlink()
    else:
        (copy / name).write_text(content)
    with pytest.raises(LoadFailed, match=words):
        open_engine(model_of(encoders["bert"], path=copy))


def test_a_text_generation_model_is_no_encoder(encoders: Encoders, tiny: Any) -> None:
    with pytest.raises(LoadFailed, match="feature extraction"):
        open_engine(model_of(encoders["bert"], path=tiny.directory))


def test_a_step_that_would_be_left_out_is_refused_whatever_the_options(
    encoders: Encoders, copy: Path
) -> None:
    (copy / "modules.json").write_text('[{"type": "a.b.Dense", "path": "2_Dense"}]')
    with pytest.raises(LoadFailed, match="'Dense'"):
        open_engine(model_of(encoders["bert"], path=copy, options={"pooling": "mean"}))


@pytest.mark.parametrize(
    ("files", "way"),
    [
        ({}, "mean"),
        ({"1_Pooling/config.json": {"pooling_mode": "cls"}}, "cls"),
        ({"1_Pooling/config.json": {"pooling_mode": "lasttoken"}}, "last"),
        ({"1_Pooling/config.json": {"pooling_mode_mean_sqrt_len_tokens": True}}, "mean"),
        ({"1_Pooling/config.json": {"pooling_mode_max_tokens": True, "include_prompt": True}}, "max"),
        (
            {
                "modules.json": [{"type": "a.modules.pooling.Pooling", "path": "../../else/5_Pooling"}],
                "5_Pooling/config.json": {"pooling_mode": "cls"},
            },
            "cls",
        ),
    ],
)
def test_how_files_say_the_pooling(encoders: Encoders, copy: Path, files: dict[str, Any], way: str) -> None:
    shutil.rmtree(copy / "1_Pooling")
    (copy / "modules.json").unlink()
    for name, content in files.items():
        (copy / name).parent.mkdir(exist_ok=True)
        (copy / name).write_text(json.dumps(content))
    engine = open_engine(model_of(encoders["bert"], path=copy))
    assert engine.encoder._pooling == way
    engine.close()


def test_pooling_by_hand() -> None:
    hidden = np.array([[[1, -9], [3, -4], [50, 50]], [[7, 8], [np.nan, np.inf], [np.nan, 0]]], np.float32)
    lengths = np.array([2, 1])
    assert pool(hidden, lengths, "mean").tolist() == [[2, -6.5], [7, 8]]
    assert pool(hidden, lengths, "max").tolist() == [[3, -4], [7, 8]]
    assert pool(hidden, lengths, "cls").tolist() == [[1, -9], [7, 8]]
    assert pool(hidden, lengths, "last").tolist() == [[3, -4], [7, 8]]


def test_a_model_with_its_pooling_inside(encoders: Encoders, copy: Path) -> None:
    import openvino as ov
    from openvino import opset13 as ops

    model = ov.Core().read_model(copy / "openvino_model.xml")
    hidden = model.output(0).get_node().input_value(0)
    pooled = ops.reduce_max(hidden, ops.constant([1], np.int64))
    pooled.output(0).set_names({"sentence_embedding"})
    model.add_results([ops.result(pooled)])
    ov.save_model(model, copy / "new.xml", compress_to_fp16=False)
    for suffix in ("xml", "bin"):
        (copy / f"new.{suffix}").replace(copy / f"openvino_model.{suffix}")
    (copy / "modules.json").write_text('[{"type": "a.Dense"}]')  # inside as well
    engine = open_engine(model_of(encoders["bert"], path=copy))
    by_hand = open_engine(model_of(encoders["bert"], options={"pooling": "max", "max_batch_tokens": 1}))
    np.testing.assert_allclose(
        vectors(engine, ask("hello world")), vectors(by_hand, ask("hello world")), atol=1e-5
    )
    engine.close()
    by_hand.close()


def test_an_unsupported_task_names_the_model(bert: EmbeddingEngine) -> None:
    with pytest.raises(Unsupported, match="`tiny`"):
        bert.prepare(TextRequest(model="tiny", prompt=("a",)))
