"""What a caller may ask of the text engine, and what it answers."""

from __future__ import annotations

import dataclasses
import time
from typing import Any

import pytest

from quintet.core.content import Image, Message
from quintet.core.errors import ContextTooLong, InvalidRequest, LoadFailed, Unsupported
from quintet.core.requests import Detail, ImageRequest, Limits, Sampling, TextRequest, TokenizeRequest
from quintet.engines.text.engine import open_engine
from tests.conftest import TinyModel
from tests.engines import contract
from tests.engines.text.asking import ask, forced, ids, ids_of, model_of, only
from tests.engines.text.conftest import Driver, Open

CHAT = (Message("system", ("the",)), Message("user", ("hello world",)))
DETAIL = Detail(logprobs=True, top_logprobs=5, prefill=True)
CONTRACT = [
    TextRequest(model="tiny", messages=CHAT, limits=Limits(max_new_tokens=9)),
    ask("hello world", 12, sampling=Sampling(seed=3)),
    ask(ids(70), 5, detail=DETAIL),
    ask(ids(70), 5, detail=DETAIL, n=3, best_of=3, sampling=Sampling(seed=1)),
    ask(ids(1), 1, detail=Detail(prefill=True), n=2, best_of=2, sampling=Sampling(seed=1)),
    ask(ids(40), 6, detail=Detail(top_logprobs=2), n=2, best_of=5, sampling=Sampling(temperature=1.5)),
    ask(ids(33), 30, limits={"stop": ("a", "e", " "), "ignore_eos": False}),
    ask(ids(300), 4, detail=Detail(prefill=True), limits={"truncate": 200}),
    TokenizeRequest(model="tiny", prompt="hello world"),
]


@pytest.mark.parametrize("request_", CONTRACT, ids=range(len(CONTRACT)))
def test_grammar_and_cancel(shared: Driver, request_: Any) -> None:
    contract.check_grammar(shared.engine, request_)
    contract.check_grammar(shared.engine, request_)  # now from the prefix cache
    contract.check_cancel(shared.engine, request_)


def test_rest_of_the_contract(shared: Driver, tiny: TinyModel) -> None:
    seeded = ask("hello world", 20, sampling=Sampling(temperature=1.1, seed=5), n=2, best_of=2)
    contract.check_seed(shared.engine, seeded, [ask(ids(50)), ask(ids(20), n=2, best_of=2)])
    contract.check_cancel_spares_others(shared.engine, ask(ids(40), 20))
    contract.check_close(lambda: open_engine(model_of(tiny)))
    contract.check_unsupported(shared.engine, ImageRequest(model="tiny", prompts=("red",)))


def test_close_with_work_under_way(drive: Open) -> None:
    driver = drive()
    driver.submit(ask(ids(40), 100))
    driver.submit(TokenizeRequest(model="tiny", prompt="a"))
    driver.engine.close()
    assert not driver.engine.busy()
    driver.engine.close()


def test_a_bias_forces_or_forbids_a_token(shared: Driver) -> None:
    assert only(shared, ask(count=3, sampling=forced(shared, "hello"))).text == "hello" * 3
    free = ids_of(only(shared, ask(count=1)))[0]
    forbidden = ask(count=20, sampling=Sampling(temperature=0, logit_bias=((free, -100.0),)))
    assert free not in ids_of(only(shared, forbidden))


@pytest.mark.parametrize(("keep", "text"), [(False, "hel"), (True, "hellohe")])
def test_stop_strings_across_tokens(shared: Driver, keep: bool, text: str) -> None:
    limits = {"stop": ("never", "lohellohello", "lohe"), "keep_stop": keep}
    choice = only(shared, ask(sampling=forced(shared, "hello"), limits=limits))
    assert (choice.text, choice.reason) == (text, "stop")


def test_end_of_sequence(shared: Driver) -> None:
    sampling = forced(shared, "<|im_end|>")
    choice = only(shared, ask(sampling=sampling, limits={"ignore_eos": False}))
    assert (choice.text, choice.reason, len(choice.tokens)) == ("", "eos", 1)
    assert choice.tokens[0].special
    shown = only(shared, ask(sampling=sampling, limits={"ignore_eos": False}, skip_special_tokens=False))
    assert shown.text == "<|im_end|>"
    ignored = only(shared, ask(sampling=sampling, count=3))
    assert (ignored.reason, len(ignored.tokens)) == ("length", 3)


def test_length_is_asked_first(shared: Driver) -> None:
    sampling = forced(shared, "<|im_end|>")
    assert only(shared, ask(sampling=sampling, count=1, limits={"ignore_eos": False})).reason == "length"


def test_held_text_comes_when_the_answer_ends(shared: Driver) -> None:
    choice = only(shared, ask(sampling=forced(shared, "hello"), count=2, limits={"stop": ("lohello!",)}))
    assert (choice.text, choice.reason) == ("hellohello", "length")


def test_to_the_end_of_the_context(shared: Driver) -> None:
    outcome = shared.run(ask(ids(500), None))[0]
    assert outcome.choices[0].reason == "length"
    assert outcome.finished.usage.completion_tokens == 12


def test_number_of_alternatives(shared: Driver) -> None:
    for count in (0, 1, 50):
        choice = only(shared, ask(detail=Detail(logprobs=True, top_logprobs=count)))
        for token in choice.tokens:
            assert len(token.top) == count
            assert token.raw == shared.engine._vocabulary.raw(token.id)
            if count:
                assert token.logprob == token.top[0].logprob
                assert token.id == token.top[0].id
    plain = only(shared, ask())
    assert all(token.logprob is None and not token.top and not token.raw for token in plain.tokens)
    assert plain.mean_logprob is None


def test_mean_logprob_is_that_of_the_tokens(shared: Driver) -> None:
    choice = only(shared, ask(detail=Detail(logprobs=True)))
    assert choice.mean_logprob == pytest.approx(sum(token.logprob for token in choice.tokens) / 8)
    # A certain token has log-probability 0, which is not the same as unknown.
    certain = only(shared, ask(detail=Detail(logprobs=True), sampling=forced(shared, "hello")))
    assert certain.mean_logprob is not None


def test_truncate_keeps_the_end(shared: Driver) -> None:
    prompt = ids(60)
    outcome = shared.run(ask(prompt, limits={"truncate": 20}))[0]
    assert outcome.finished.usage.prompt_tokens == 20
    assert ids_of(outcome.choices[0]) == ids_of(only(shared, ask(prompt[-20:])))
    assert shared.run(ask(ids(600), limits={"truncate": 500}))[0].finished.usage.prompt_tokens == 500


def test_truncate_reads_no_more_text_than_it_may_keep(shared: Driver) -> None:
    """Combining marks are slow to read; two million characters would take seconds, in a thread that others wait for."""
    end = "hello world é" * 5
    whole = shared.engine.prompts.prepare(ask("a\u0301" * 2000 + end, limits={"truncate": 20}))
    began = time.process_time()
    cut = shared.engine.prompts.prepare(ask("a\u0301" * 1_000_000 + end, limits={"truncate": 20}))
    assert time.process_time() - began < 0.3
    assert cut.ids == whole.ids
    assert len(cut.ids) == 20


def test_usage_timings_and_seed(shared: Driver) -> None:
    outcome = shared.run(ask(ids(40, 77), 5, sampling=Sampling(), n=2, best_of=3, owner="usage"))[0]
    usage = outcome.finished.usage
    assert (usage.prompt_tokens, usage.cached_tokens, usage.completion_tokens) == (40, 0, 15)
    assert outcome.finished.seed is not None
    again = dataclasses.replace(
        ask(ids(40, 77), 5, n=2, best_of=3, owner="usage"), sampling=Sampling(seed=outcome.finished.seed)
    )
    repeated = shared.run(again)[0]
    assert [ids_of(one) for one in repeated.choices] == [ids_of(one) for one in outcome.choices]
    assert repeated.finished.usage.cached_tokens == 32
    assert min(dataclasses.astuple(repeated.finished.timings)) >= 0
    assert shared.run(ask())[0].finished.seed is None


def test_tokens_of_a_text(shared: Driver) -> None:
    text = "hello world 🎉"
    tokenized = shared.run(TokenizeRequest(model="tiny", prompt=text))[0].tokenized
    assert tokenized.text == text
    assert [token.id for token in tokenized.tokens] == shared.engine._vocabulary.encode(
        text, add_special_tokens=True
    )
    assert all(token.text == text[token.start : token.end] for token in tokenized.tokens)
    chat = shared.run(TokenizeRequest(model="tiny", messages=CHAT))[0].tokenized
    assert chat.text.startswith("<|im_start|>system\nthe<|im_end|>\n")
    assert chat.tokens[0].id == 1
    assert (
        len(chat.tokens)
        == shared.run(TextRequest(model="tiny", messages=CHAT))[0].finished.usage.prompt_tokens
    )


def test_context_errors_name_numbers(shared: Driver, tiny: TinyModel) -> None:
    prepare = shared.engine.prepare
    with pytest.raises(ContextTooLong, match=r"at most 511 tokens .* has 512") as raised:
        prepare(ask(ids(512)))
    assert raised.value.param == "prompt"
    assert raised.value.facts == {"prompt_tokens": 512, "max_prompt_tokens": 511}
    with pytest.raises(ContextTooLong, match=r"at most 511 .* at least \d+") as raised:
        prepare(ask("hello " * 100_000))
    assert not raised.value.facts, "the number is no more than an estimate"
    with pytest.raises(ContextTooLong, match=r"at most 511 .* at least \d+"):
        prepare(ask("hello " * 100_000, limits={"truncate": 512}))
    with pytest.raises(ContextTooLong, match=r"at most 512 .* has 500 and 13 .* at most 12") as raised:
        prepare(ask(ids(500), 13))
    assert raised.value.facts == {"prompt_tokens": 500, "new_tokens": 13, "context_length": 512}
    with pytest.raises(ContextTooLong) as raised:
        prepare(TextRequest(model="tiny", messages=(Message("user", ("one " * 600,)),)))
    assert raised.value.param == "messages"
    prepare(ask(ids(500), 12))
    prepare(ask(ids(511), 1))
    assert prepare(ask(ids(500), 13, limits={"fit": True})).max_new_tokens == 12
    engine = open_engine(model_of(tiny, max_input_tokens=50))
    with pytest.raises(ContextTooLong, match=r"at most 50 tokens .* has 51"):
        engine.prepare(ask(ids(51)))
    engine.close()


def test_ids_outside_the_vocabulary_are_refused(shared: Driver) -> None:
    size = shared.engine.info().vocabulary_size
    for id in (-1, size, 2**40):
        with pytest.raises(InvalidRequest, match=rf"`prompt` .* 0 to {size - 1}"):
            shared.engine.prepare(ask((5, id)))
        with pytest.raises(InvalidRequest, match=rf"`logit_bias` .* 0 to {size - 1}"):
            shared.engine.prepare(ask(sampling=Sampling(logit_bias=((id, 1.0),))))
    shared.run(ask((size - 1,)))


def test_other_refusals(shared: Driver) -> None:
    picture = (Message("user", ("look", Image(data=b"x"))),)
    for request in (
        TextRequest(model="tiny", messages=picture),
        TextRequest(model="tiny", prompt=(Image(),)),
    ):
        with pytest.raises(Unsupported, match="pictures"):
            shared.engine.prepare(request)
    with pytest.raises(InvalidRequest, match="empty"):
        shared.engine.prepare(ask(""))
    with pytest.raises(InvalidRequest, match="max_new_tokens"):
        shared.engine.prepare(ask(count=0))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"kv_cache": 3}, "`kv_cache`"),
        ({"kv_cache_mb": "many"}, "`kv_cache_mb` .* int"),
        ({"threads": True}, "`threads` .* int"),
        ({"max_batch_tokens": 0}, "at least 1"),
    ],
)
def test_wrong_options(tiny: TinyModel, options: dict[str, Any], words: str) -> None:
    with pytest.raises(LoadFailed, match=words):
        open_engine(model_of(tiny, options=options))
