"""The openai package (3.51): whole, stream, details, and errors by class."""

import asyncio
from collections.abc import Iterator

import openai
import pytest

from tests.support.server import RunningServer

HELLO = [{"role": "user", "content": "hello there"}]


@pytest.fixture(scope="module")
def client(server: RunningServer) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="local", max_retries=0) as made:
        yield made


def test_a_whole_chat(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model="echo", messages=HELLO, n=2, logprobs=True, top_logprobs=3)
    assert [sorted(choice.message.content.split()) for choice in answer.choices] == [["hello", "there"]] * 2
    assert [choice.finish_reason for choice in answer.choices] == ["stop"] * 2
    assert {len(each.top_logprobs) for each in answer.choices[0].logprobs.content} == {3}
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


def test_a_streamed_chat_with_usage(client: openai.OpenAI) -> None:
    chunks = list(
        client.chat.completions.create(
            model="echo", messages=HELLO, stream=True, stream_options={"include_usage": True}
        )
    )
    *texts, last = chunks
    assert "".join(chunk.choices[0].delta.content or "" for chunk in texts) == "hello there"
    assert [chunk.choices[0].finish_reason for chunk in texts if chunk.choices[0].finish_reason] == ["stop"]
    assert last.choices == []
    assert last.usage.completion_tokens >= 2


def test_completions_with_several_prompts(client: openai.OpenAI) -> None:
    answer = client.completions.create(model="echo", prompt=["one two", "three"], max_tokens=9, logprobs=2)
    assert [choice.text.split() for choice in answer.choices] == [["one", "two"], ["three"]]
    assert all(choice.logprobs.tokens for choice in answer.choices)
    pieces = client.completions.create(model="echo", prompt="one two", max_tokens=9, stream=True)
    assert "".join(piece.choices[0].text for piece in pieces).split() == ["one", "two"]


def test_models(client: openai.OpenAI) -> None:
    assert "echo" in [model.id for model in client.models.list()]
    assert client.models.retrieve("echo").id == "echo"


@pytest.mark.parametrize(
    ("arguments", "kind", "code"),
    [
        ({"model": "gone"}, openai.NotFoundError, "model_not_found"),
        ({"temperature": -1}, openai.BadRequestError, None),
        ({"messages": []}, openai.BadRequestError, None),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_errors_by_class(
    arguments: dict, kind: type[openai.APIStatusError], code: str | None, stream: bool, client: openai.OpenAI
) -> None:
    asked = {"model": "echo", "messages": HELLO, "stream": stream, **arguments}
    with pytest.raises(kind) as raised:
        client.chat.completions.create(**asked)
    assert raised.value.body["message"]
    assert code is None or raised.value.code == code


@pytest.mark.parametrize("stream", [False, True])
def test_a_failing_engine_is_a_server_error(stream: bool, client: openai.OpenAI) -> None:
    messages = [{"role": "user", "content": f"stream {stream} !error"}]
    with pytest.raises(openai.InternalServerError) as raised:
        client.chat.completions.create(model="echo", messages=messages, stream=stream)
    assert raised.value.code == "engine_error"


def test_a_wrong_key_is_an_authentication_error(server: RunningServer) -> None:
    with (
        openai.OpenAI(base_url=f"{server.url}/v1", api_key="qt_wrong", max_retries=0) as stranger,
        pytest.raises(openai.AuthenticationError),
    ):
        stranger.models.list()


def test_a_crash_in_the_middle_of_a_stream_is_an_error(client: openai.OpenAI) -> None:
    crash = [{"role": "user", "content": "one two three !crash@2"}]
    stream = client.chat.completions.create(model="echo", messages=crash, stream=True)
    with pytest.raises(openai.APIError):
        list(stream)


def test_a_full_model_is_a_rate_limit_error_with_retry_after(server: RunningServer) -> None:
    """Four may be in flight here; the fifth is refused at once."""

    async def ask() -> openai.RateLimitError:
        stall = [{"role": "user", "content": "wait for me !stall@1"}]
        async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="local", max_retries=0) as client:
            streams = [
                await client.chat.completions.create(model="echo-vision", messages=stall, stream=True)
                for _ in range(4)
            ]
            with pytest.raises(openai.RateLimitError) as raised:
                await client.chat.completions.create(model="echo-vision", messages=HELLO)
            for stream in streams:
                await stream.close()
            return raised.value

    error = asyncio.run(ask())
    assert error.code == "model_overloaded"
    assert float(error.response.headers["retry-after"]) > 0
