"""The openai package (3.51) and raw TGI requests, answered by the real engine over the tiny model."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from tests.conftest import TinyModel
from tests.support.server import Answer, RunningServer

HELLO = [{"role": "user", "content": "hello world, what is red and blue"}]
PROMPT = "what is the red circle"
EOS = 2
NO_EOS = {str(EOS): -100}
TEMPLATED = "<|im_start|>user\nhello<|im_end|>\n<|im_start|>assistant\n"


@pytest.fixture(scope="module")
def client(server: RunningServer) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="local", max_retries=0) as made:
        yield made


def chat(client: openai.OpenAI, **more: Any) -> Any:
    asked = {"model": "tiny", "messages": HELLO, "max_tokens": 24, "temperature": 0, "logit_bias": NO_EOS}
    asked |= more
    return client.chat.completions.create(**asked)


def generate(
    server: RunningServer, inputs: str = PROMPT, path: str = "/generate", **parameters: Any
) -> Answer:
    return server.ask("POST", path, {"inputs": inputs, "parameters": {"max_new_tokens": 16, **parameters}})


def events_of(answer: Answer) -> list[Any]:
    assert answer.status == 200, answer.body
    lines = answer.body.decode().splitlines()
    return [json.loads(line.removeprefix("data:")) for line in lines if line.startswith("data:")]


def reference_logprobs(tiny: TinyModel, ids: list[int]) -> Any:
    """Row i says how likely each token is after ids[: i + 1], by transformers."""
    import torch

    with torch.inference_mode():
        return tiny.reference(torch.tensor([ids])).logits[0].log_softmax(-1)


# ------------------------------------------------------------------------------------------- /v1/chat/completions


def test_a_stream_says_what_the_whole_answer_says(client: openai.OpenAI) -> None:
    whole = chat(client)
    *chunks, last = list(chat(client, stream=True, stream_options={"include_usage": True}))
    assert (
        "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == whole.choices[0].message.content
    )
    reasons = [chunk.choices[0].finish_reason for chunk in chunks]
    assert reasons == [None] * (len(reasons) - 1) + [whole.choices[0].finish_reason]
    assert last.choices == []
    assert last.usage == whole.usage.model_copy(
        update={"prompt_tokens_details": last.usage.prompt_tokens_details}
    )
    assert whole.usage.completion_tokens == 24
    assert whole.usage.total_tokens == whole.usage.prompt_tokens + 24
    assert {chunk.id for chunk in chunks} == {last.id}


def test_without_stream_options_no_usage_is_streamed(client: openai.OpenAI) -> None:
    chunks = list(chat(client, stream=True))
    assert all(chunk.choices for chunk in chunks)
    assert {chunk.usage for chunk in chunks} == {None}


def test_logprobs_are_transformers(client: openai.OpenAI, server: RunningServer, tiny: TinyModel) -> None:
    answer = chat(client, logprobs=True, top_logprobs=5)
    content = answer.choices[0].logprobs.content
    prompt = server.ask("POST", "/chat_tokenize", {"messages": HELLO}).json["tokenize_response"]
    ids = [token["id"] for token in prompt]
    assert answer.usage.prompt_tokens == len(ids)
    assert len(content) == 24
    for entry in content:
        row = reference_logprobs(tiny, ids)[-1]
        values, found = row.topk(5)
        assert [one.logprob for one in entry.top_logprobs] == pytest.approx(values.tolist(), abs=1e-3)
        # What is reported is the model's own opinion; the bias only moves the choice.
        chosen = int(found[0]) if int(found[0]) != EOS else int(found[1])
        assert entry.logprob == pytest.approx(float(row[chosen]), abs=1e-3)
        ids.append(chosen)
    raw = b"".join(bytes(entry.bytes) for entry in content)
    assert answer.choices[0].message.content == raw.decode("utf-8", "replace")


def test_streamed_logprobs_are_the_whole_ones(client: openai.OpenAI) -> None:
    asked = {"logprobs": True, "top_logprobs": 2, "n": 2, "seed": 3, "temperature": 1.0}
    whole, chunks = chat(client, **asked), list(chat(client, stream=True, **asked))
    for choice in whole.choices:
        mine = [chunk.choices[0] for chunk in chunks if chunk.choices[0].index == choice.index]
        streamed = [entry for one in mine if one.logprobs for entry in one.logprobs.content]
        assert streamed == choice.logprobs.content
        assert "".join(one.delta.content or "" for one in mine) == choice.message.content


def test_two_choices_differ_and_a_seed_repeats_them(client: openai.OpenAI) -> None:
    def ask(seed: int) -> list[str]:
        answer = chat(client, n=2, seed=seed, temperature=1.0)
        assert answer.usage.completion_tokens <= 48
        return [choice.message.content for choice in answer.choices]

    first = ask(7)
    assert first[0] != first[1]
    assert ask(7) == first
    assert ask(8) != first


def test_a_stop_string_ends_the_answer_and_is_cut_off(client: openai.OpenAI) -> None:
    text = chat(client).choices[0].message.content
    stop = next(text[at : at + 2] for at in range(6, len(text)) if "\ufffd" not in text[at : at + 2])
    whole = chat(client, stop=[stop, "never said"])
    assert whole.choices[0].finish_reason == "stop"
    assert whole.choices[0].message.content == text[: text.index(stop)]
    assert whole.usage.completion_tokens < 24
    streamed = "".join(chunk.choices[0].delta.content or "" for chunk in chat(client, stream=True, stop=stop))
    assert streamed == whole.choices[0].message.content


def test_logit_bias_forces_and_forbids(client: openai.OpenAI, server: RunningServer) -> None:
    red = server.ask("POST", "/tokenize", {"inputs": "red"}).json[0]["id"]
    forced = chat(client, logit_bias={str(red): 100}, max_tokens=4)
    assert forced.choices[0].message.content == "red" * 4
    ended = chat(client, logit_bias={str(EOS): 100})
    assert (ended.choices[0].finish_reason, ended.choices[0].message.content) == ("stop", "")
    assert ended.usage.completion_tokens == 1
    long = chat(client, max_tokens=300)
    assert (long.choices[0].finish_reason, long.usage.completion_tokens) == ("length", 300)


def test_an_answer_ends_where_the_context_does(client: openai.OpenAI) -> None:
    answer = chat(client, max_tokens=openai.NOT_GIVEN)
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage.total_tokens == 512


# ----------------------------------------------------------------------------------------------- /v1/completions


def test_completions(client: openai.OpenAI, server: RunningServer, tiny: TinyModel) -> None:
    ids = [token["id"] for token in server.ask("POST", "/tokenize", {"inputs": PROMPT}).json]
    asked = {"model": "tiny", "temperature": 0, "max_tokens": 9, "logprobs": 2, "echo": True}
    texts = client.completions.create(prompt=[PROMPT, "one two three"], **asked)
    assert [choice.index for choice in texts.choices] == [0, 1]
    by_ids = client.completions.create(prompt=ids, **asked).choices[0]
    by_text = texts.choices[0]
    assert by_ids.text == by_text.text
    assert by_ids.text.startswith(PROMPT)
    assert by_ids.logprobs.token_logprobs == pytest.approx(by_text.logprobs.token_logprobs, abs=1e-4)
    expected = reference_logprobs(tiny, ids)
    assert by_text.logprobs.token_logprobs[0] is None
    for at in range(1, len(ids)):
        assert by_text.logprobs.token_logprobs[at] == pytest.approx(
            float(expected[at - 1, ids[at]]), abs=1e-3
        )
    pieces = client.completions.create(model="tiny", prompt=PROMPT, temperature=0, max_tokens=9, stream=True)
    assert PROMPT + "".join(piece.choices[0].text for piece in pieces) == by_text.text


def test_the_best_of_two_is_the_likelier_one(client: openai.OpenAI) -> None:
    asked = {"model": "tiny", "prompt": PROMPT, "max_tokens": 12, "seed": 5, "logprobs": 0}
    both = client.completions.create(n=2, **asked).choices
    best = client.completions.create(best_of=2, **asked)

    def mean(choice: Any) -> float:
        return sum(choice.logprobs.token_logprobs) / len(choice.logprobs.token_logprobs)

    assert best.choices[0].text == max(both, key=mean).text
    assert best.usage.completion_tokens > len(best.choices[0].logprobs.tokens)


# ---------------------------------------------------------------------------------------------------- TGI's routes


def test_generate_with_all_details(server: RunningServer, tiny: TinyModel) -> None:
    answer = generate(server, details=True, decoder_input_details=True, top_n_tokens=3)
    details = answer.json["details"]
    ids = [token["id"] for token in details["prefill"]]
    assert ids == [token["id"] for token in server.ask("POST", "/tokenize", {"inputs": PROMPT}).json]
    assert details["prefill"][0]["logprob"] is None
    assert "".join(token["text"] for token in details["prefill"]) == PROMPT
    answered = [token["id"] for token in details["tokens"]]
    expected = reference_logprobs(tiny, ids + answered)
    for at, token in enumerate(details["prefill"][1:]):
        assert token["logprob"] == pytest.approx(float(expected[at, token["id"]]), abs=1e-3)
    for at, (token, top) in enumerate(zip(details["tokens"], details["top_tokens"], strict=True)):
        row = expected[len(ids) + at - 1]
        assert token["id"] == top[0]["id"] == int(row.argmax())
        assert [one["logprob"] for one in top] == pytest.approx(row.topk(3).values.tolist(), abs=1e-3)
    assert details["generated_tokens"] == len(answered) == 16
    assert (details["finish_reason"], details["seed"]) == ("length", None)
    assert answer.json["generated_text"] == "".join(token["text"] for token in details["tokens"])
    assert int(answer.headers["x-prompt-tokens"]) == len(ids)
    assert int(answer.headers["x-generated-tokens"]) == 16


def test_generate_stream_says_what_generate_says(server: RunningServer) -> None:
    whole = generate(server, details=True).json
    events = events_of(generate(server, path="/generate_stream", details=True))
    assert [event["token"] for event in events] == whole["details"]["tokens"]
    assert [event["index"] for event in events] == list(range(1, 17))
    assert [event["generated_text"] for event in events] == [None] * 15 + [whole["generated_text"]]
    assert events[-1]["details"]["finish_reason"] == "length"
    assert events[-1]["details"]["input_length"] > 0


def test_a_stop_string_stays_at_the_end(server: RunningServer) -> None:
    text = generate(server, max_new_tokens=60).json["generated_text"]
    stop = next(text[at : at + 2] for at in range(6, len(text)) if "\ufffd" not in text[at : at + 2])
    stopped = generate(server, max_new_tokens=60, stop=[stop], details=True).json
    assert stopped["details"]["finish_reason"] == "stop_sequence"
    assert stopped["generated_text"] == text[: text.index(stop) + 2]


def test_generate_best_of(server: RunningServer) -> None:
    answer = generate(server, best_of=2, do_sample=True, details=True).json
    best, (other,) = answer["details"], answer["details"]["best_of_sequences"]

    def mean(sequence: Any) -> float:
        return sum(token["logprob"] for token in sequence["tokens"]) / len(sequence["tokens"])

    assert mean(best) >= mean(other)
    assert answer["generated_text"] != other["generated_text"]
    assert isinstance(best["seed"], int)


def test_generate_repeats_a_seed(server: RunningServer) -> None:
    def ask(seed: int) -> str:
        return generate(server, seed=seed, do_sample=True, temperature=1.1, top_k=40, top_p=0.9).body.decode()

    assert ask(1) == ask(1) != ask(2)


def test_truncate_keeps_the_end(server: RunningServer) -> None:
    prompt = "one two three " * 400
    cut = generate(server, prompt, truncate=7, decoder_input_details=True).json["details"]
    ids = [token["id"] for token in server.ask("POST", "/tokenize", {"inputs": prompt}).json]
    assert [token["id"] for token in cut["prefill"]] == ids[-7:]
    assert generate(server, prompt).status == 400


def test_tokenize_and_chat_tokenize(server: RunningServer) -> None:
    tokens = server.ask("POST", "/tokenize", {"inputs": "hello wörld"}).json
    assert all("hello wörld"[token["start"] : token["stop"]] == token["text"] for token in tokens[:2])
    answer = server.ask("POST", "/chat_tokenize", {"messages": [{"role": "user", "content": "hello"}]}).json
    assert answer["templated_text"] == TEMPLATED
    assert "".join(token["text"] for token in answer["tokenize_response"]) == TEMPLATED


def test_info(server: RunningServer) -> None:
    info = server.ask("GET", "/info").json
    assert (info["model_id"], info["max_total_tokens"], info["max_input_tokens"]) == ("tiny", 512, 511)


@pytest.mark.parametrize("path", ["/", "/phi3/generate", "/tiny/gpu0/generate"])
def test_the_other_forms_answer_the_same(server: RunningServer, path: str) -> None:
    text = generate(server).json["generated_text"]
    answer = generate(server, path=path, return_full_text=False).json
    assert (answer[0] if isinstance(answer, list) else answer)["generated_text"] == text


# ------------------------------------------------------------------------------------------------ errors by class


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("asked", "kind", "code"),
    [
        ({"messages": [{"role": "user", "content": "one " * 600}]}, openai.BadRequestError, "context_length_exceeded"),
        ({"max_tokens": 512}, openai.BadRequestError, "context_length_exceeded"),
        ({"logit_bias": {"293": 1}}, openai.BadRequestError, "invalid_value"),
        ({"model": "gone"}, openai.NotFoundError, "model_not_found"),
    ],
)  # fmt: skip
def test_errors_by_class(
    client: openai.OpenAI, stream: bool, asked: dict[str, Any], kind: type[openai.APIStatusError], code: str
) -> None:
    with pytest.raises(kind) as raised:
        chat(client, stream=stream, **asked)
    assert raised.value.code == code
    assert raised.value.request_id


def test_a_wrong_key_is_an_authentication_error(server: RunningServer) -> None:
    with (
        openai.OpenAI(base_url=f"{server.url}/v1", api_key="qt_wrong", max_retries=0) as stranger,
        pytest.raises(openai.AuthenticationError) as raised,
    ):
        chat(stranger)
    assert raised.value.code == "invalid_api_key"


@pytest.mark.parametrize("path", ["/generate", "/generate_stream"])
def test_a_prompt_too_long_for_tgi_clients(server: RunningServer, path: str) -> None:
    for answer in (generate(server, "one " * 600, path), generate(server, path=path, max_new_tokens=512)):
        assert (answer.status, answer.json["error_type"]) == (400, "validation")
        assert answer.json["error"]["message"].startswith("Input validation error: `inputs` ")
        assert answer.json["error"]["param"] == "inputs"
