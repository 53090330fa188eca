"""huggingface_hub's InferenceClient (2.4.0, and the 0.36.2 that lives beside text-generation)."""

import pytest

from tests.clients.conftest import Run

both = pytest.mark.parametrize("environment", ["hub", "tgi"])


@both
def test_text_generation_whole(environment: str, run_in: Run) -> None:
    script = """
    from huggingface_hub import InferenceClient
    client = InferenceClient(url + "/generate")
    plain = client.text_generation("one two three", max_new_tokens=20)
    full = client.text_generation("one two three", max_new_tokens=2, details=True, decoder_input_details=True)
    result = [plain, full.generated_text, full.details.finish_reason, full.details.generated_tokens,
              [token.text for token in full.details.prefill]]
    """
    plain, text, reason, count, prefill = run_in(environment, script)
    assert plain.split() == ["one", "two", "three"]
    assert text.split() == ["one", "two"]
    assert (reason, count, len(prefill)) == ("length", 2, 3)


@both
def test_text_generation_stream(environment: str, run_in: Run) -> None:
    script = """
    from huggingface_hub import InferenceClient
    client = InferenceClient(url + "/generate")
    pieces = list(client.text_generation("one two three", max_new_tokens=20, stream=True))
    events = list(client.text_generation("one two three", max_new_tokens=2, stream=True, details=True))
    result = [pieces, events[-1].generated_text, events[-1].details.finish_reason]
    """
    pieces, text, reason = run_in(environment, script)
    assert "".join(pieces).split() == ["one", "two", "three"]
    assert len(pieces) >= 3
    assert (text.split(), reason) == (["one", "two"], "length")


@both
def test_chat_completion(environment: str, run_in: Run) -> None:
    script = """
    from huggingface_hub import InferenceClient
    client = InferenceClient(url)
    messages = [{"role": "user", "content": "hello there"}]
    whole = client.chat_completion(messages, max_tokens=9, logprobs=True, top_logprobs=2)
    chunks = list(client.chat_completion(messages, max_tokens=9, stream=True))
    result = [whole.choices[0].message.content, whole.usage.completion_tokens,
              [len(each.top_logprobs) for each in whole.choices[0].logprobs.content],
              "".join(chunk.choices[0].delta.content or "" for chunk in chunks)]
    """
    whole, count, tops, streamed = run_in(environment, script)
    assert whole == streamed == "hello there"
    assert count >= 2
    assert set(tops) == {2}


@pytest.mark.parametrize(
    ("call", "name"),
    [
        ('client.text_generation("one", max_new_tokens=300000)', "ValidationError"),
        ('client.text_generation("one !error")', "GenerationError"),
        (
            'list(client.text_generation("one two !crash@1", max_new_tokens=9, stream=True))',
            "UnknownError",
        ),
        ('client.chat_completion([{"role": "user", "content": "x"}], temperature=-1)', "BadRequestError"),
        ('client.chat_completion([{"role": "user", "content": "x"}], model="gone")', "HfHubHTTPError"),
    ],
)
@both
def test_errors_by_class(environment: str, call: str, name: str, run_in: Run) -> None:
    script = f"""
    from huggingface_hub import InferenceClient
    client = InferenceClient(url)
    try:
        result = repr({call})
    except Exception as error:
        result = [each.__name__ for each in type(error).__mro__]
    """
    assert name in run_in(environment, script)


@both
def test_a_full_model_is_overloaded(environment: str, run_in: Run, full_model: str) -> None:
    script = """
    from huggingface_hub import InferenceClient
    from huggingface_hub.errors import OverloadedError
    try:
        result = InferenceClient(f"{url}/{model}/generate").text_generation("one")
    except OverloadedError:
        result = "overloaded"
    """
    assert run_in(environment, script, model=full_model) == "overloaded"
