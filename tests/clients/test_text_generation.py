"""The text-generation package (0.7.0): what its users see."""

import pytest

from tests.clients.conftest import Run


def test_generate_with_details(run_in: Run) -> None:
    script = """
    from text_generation import Client
    answer = Client(url).generate("one two three", max_new_tokens=2, decoder_input_details=True, top_n_tokens=2)
    details = answer.details
    result = [answer.generated_text, details.finish_reason, details.generated_tokens,
              [token.text for token in details.tokens], [token.text for token in details.prefill],
              [len(top) for top in details.top_tokens]]
    """
    text, reason, count, tokens, prefill, tops = run_in("tgi", script)
    assert (reason, count) == ("length", 2)
    assert "".join(tokens) == text
    assert len(tokens) == len(tops) == 2
    assert set(tops) <= {2, 3}
    assert "".join(prefill).split() == ["one", "two", "three"]


def test_stream_ends_with_the_whole_text(run_in: Run) -> None:
    script = """
    from text_generation import Client
    events = list(Client(url).generate_stream("one two three", max_new_tokens=20))
    result = ["".join(event.token.text for event in events if not event.token.special), events[-1].generated_text,
              [event.generated_text for event in events[:-1]], events[-1].details.finish_reason]
    """
    streamed, whole, others, reason = run_in("tgi", script)
    assert streamed == whole
    assert whole.split() == ["one", "two", "three"]
    assert set(others) <= {None}
    assert reason == "eos_token"


def test_chat(run_in: Run) -> None:
    script = """
    from text_generation import Client
    answer = Client(url).chat([{"role": "user", "content": "hello there"}], max_tokens=10)
    result = [answer.choices[0].message.content, answer.choices[0].finish_reason, answer.usage["completion_tokens"]]
    """
    content, reason, count = run_in("tgi", script)
    assert content == "hello there"
    assert reason in ("stop", "eos_token")
    assert count >= 2


@pytest.mark.parametrize(
    ("call", "name"),
    [
        ('Client(url).generate("one", max_new_tokens=300000)', "ValidationError"),
        ('Client(url).generate("one !error")', "GenerationError"),
        ('Client(url + "/nowhere/generate").generate("one")', "NotFoundError"),
        (
            'list(Client(url).generate_stream("one two three !crash@2", max_new_tokens=9))',
            "UnknownError",
        ),
    ],
)
def test_errors_by_class(call: str, name: str, run_in: Run) -> None:
    """A broken stream has TGI's own error_type incomplete_generation_stream, which no client maps to a class."""
    script = f"""
    from text_generation import Client
    try:
        result = repr({call})
    except Exception as error:
        result = type(error).__name__
    """
    assert run_in("tgi", script) == name


def test_async_client(run_in: Run) -> None:
    script = """
    import asyncio
    from text_generation import AsyncClient
    async def ask():
        return await asyncio.gather(*(AsyncClient(url).generate(f"number {i}", max_new_tokens=9) for i in range(4)))
    result = [answer.generated_text.strip() for answer in asyncio.run(ask())]
    """
    assert run_in("tgi", script) == [f"number {i}" for i in range(4)]


def test_a_full_model_is_overloaded(run_in: Run, full_model: str) -> None:
    script = """
    from text_generation import Client
    from text_generation.errors import OverloadedError
    try:
        result = Client(f"{url}/{model}/generate").generate("one").generated_text
    except OverloadedError:
        result = "overloaded"
    """
    assert run_in("tgi", script, model=full_model) == "overloaded"
