"""Pictures through the openai package, unmodified, and through plain HTTP: bytes, links, streams, edits."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import re
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest
from PIL import Image

from tests.e2e.corpus import SECRET, Case
from tests.e2e.corpus_drawing import bad_drawings
from tests.e2e.test_bad_input import check_refusal
from tests.support.server import RunningServer

GENERATIONS, EDITS = "/v1/images/generations", "/v1/images/edits"
LINK = re.compile(r"http://127\.0\.0\.1:\d+(/files/[A-Za-z0-9_-]{43}\.png)")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with RunningServer.start(
        tmp_path_factory.mktemp("home"),
        default_image_model="echo-image",
        limits__pixel_steps=json.dumps({"local": 4_000_000}),
    ) as running:
        yield running


@pytest.fixture(scope="module")
def client(server: RunningServer) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="local", max_retries=0) as made:
        yield made


def opened(data: bytes) -> Image.Image:
    picture = Image.open(io.BytesIO(data), formats=["PNG"])
    picture.load()
    return picture


def decoded(encoded: str | None) -> Image.Image:
    assert encoded is not None
    return opened(base64.b64decode(encoded, validate=True))


def colour(picture: Image.Image) -> tuple[int, ...]:
    return picture.convert("RGB").getpixel((0, 0))


def png(size: tuple[int, int] = (48, 32), mode: str = "RGB", fill: object = "red") -> bytes:
    file = io.BytesIO()
    Image.new(mode, size, fill).save(file, "PNG")
    return file.getvalue()


def text_of(picture: Image.Image) -> str:
    return picture.info.get("parameters", "")


# ------------------------------------------------------------------------------------------------ the openai package


def test_bytes(client: openai.OpenAI) -> None:
    answer = client.images.generate(
        model="echo-image",
        prompt="a red square",
        n=3,
        size="64x32",
        quality="high",
        response_format="b64_json",
        user="somebody",
        extra_body={"seed": 5, "steps": 3, "guidance": 4, "sampler": "euler a", "negative_prompt": "blue"},
    )
    pictures = [decoded(image.b64_json) for image in answer.data]
    assert [picture.size for picture in pictures] == [(64, 32)] * 3
    assert len({colour(picture) for picture in pictures}) == 3
    assert [image.seed for image in answer.data] == [5, 6, 7]  # type: ignore[attr-defined]
    assert [text_of(picture) for picture in pictures] == [
        f"a red square\nSteps: 3, Seed: {seed}" for seed in (5, 6, 7)
    ]
    assert (answer.size, answer.output_format, answer.quality) == ("64x32", "png", "high")
    assert answer.background == "opaque"
    assert answer.created > 1_700_000_000
    assert (answer.usage.images, answer.usage.pixel_steps) == (3, 3 * 64 * 32 * 3)  # type: ignore[attr-defined]
    again = client.images.generate(
        prompt="a red square", size="64x32", extra_body={"seed": 6, "steps": 3, "guidance": 4}
    )
    assert again.data[0].b64_json == answer.data[1].b64_json, "picture k has seed + k, alone or among others"


def test_links(client: openai.OpenAI, server: RunningServer) -> None:
    answer = client.images.generate(prompt="a link", n=2, size="32x32", response_format="url")
    links = [image.url for image in answer.data]
    assert all(image.b64_json is None for image in answer.data)
    assert len(set(links)) == 2
    path = LINK.fullmatch(links[0])[1]
    response = httpx.get(links[0])
    assert opened(response.content).size == (32, 32)
    assert response.headers["content-type"] == "image/png"
    assert response.headers["x-content-type-options"] == "nosniff"
    private, age = response.headers["cache-control"].split(", max-age=")
    assert private == "private"
    assert 3000 < int(age) <= 3600
    assert server.ask("GET", path).status == 200
    head = server.ask("HEAD", path)
    assert (head.status, head.body) == (200, b"")
    assert head.headers["content-type"] == "image/png"
    wrong = server.ask("GET", path.replace(".png", ".gif"))
    assert (wrong.status, wrong.json["error"]["code"]) == (404, 404)


def test_a_stream(client: openai.OpenAI) -> None:
    wanted = {"seed": 9, "steps": 8, "progress": True}
    stream = client.images.generate(
        prompt="slowly", size="32x32", stream=True, partial_images=3, extra_body=wanted
    )
    events = list(stream)
    kinds = [event.type for event in events]
    partials = [event for event in events if event.type == "image_generation.partial_image"]
    assert kinds.count("image_generation.progress") == 8
    assert [event.partial_image_index for event in partials] == [0, 1, 2]
    assert all(decoded(event.b64_json).size == (8, 8) for event in partials)
    assert {event.size for event in partials} == {"32x32"}
    assert kinds[-1] == "image_generation.completed"
    last = events[-1]
    assert (last.size, last.output_format, last.background, last.quality) == (
        "32x32",
        "png",
        "opaque",
        "auto",
    )
    assert (last.usage.total_tokens, last.usage.pixel_steps, last.seed) == (0, 8 * 32 * 32, 9)
    whole = client.images.generate(prompt="slowly", size="32x32", extra_body=wanted)
    assert whole.data[0].b64_json == last.b64_json


def test_a_stream_without_partial_pictures_is_one_event_per_picture(client: openai.OpenAI) -> None:
    events = list(client.images.generate(prompt="x", n=2, size="32x32", stream=True, extra_body={"seed": 1}))
    assert [event.type for event in events] == ["image_generation.completed"] * 2
    assert [event.seed for event in events] == [1, 2]
    assert sum(event.usage.images for event in events) == 2


def test_an_edit(client: openai.OpenAI) -> None:
    answer = client.images.edit(
        image=("cat.png", png((48, 32))),
        prompt="a dog",
        model="echo-image",
        n=2,
        extra_body={"strength": 0.5, "seed": 3, "steps": 2, "loras": {}, "enlarge": False},
    )
    pictures = [decoded(image.b64_json) for image in answer.data]
    assert [picture.size for picture in pictures] == [(48, 32)] * 2, "as large as what it came from"
    assert [image.seed for image in answer.data] == [3, 4]  # type: ignore[attr-defined]


def test_an_edit_under_a_mask(client: openai.OpenAI) -> None:
    answer = client.images.edit(
        image=[("cat.webp", png((48, 32)))],
        mask=("mask.png", png((48, 32), "RGBA", (0, 0, 0, 0))),
        prompt="a dog",
        size="64x64",
        response_format="url",
    )
    assert LINK.fullmatch(answer.data[0].url)
    assert answer.size == "64x64"


def test_a_streamed_edit(client: openai.OpenAI) -> None:
    events = list(
        client.images.edit(
            image=png(),
            prompt="a dog",
            stream=True,
            partial_images=1,
            extra_body={"guidance": 2.5, "seed": -1, "steps": 4},
        )
    )
    assert [event.type for event in events] == ["image_edit.partial_image", "image_edit.completed"]
    assert decoded(events[-1].b64_json).size == (48, 32)


def test_async(server: RunningServer) -> None:
    async def go() -> list[str]:
        async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="local", max_retries=0) as client:
            whole = await client.images.generate(prompt="x", size="32x32")
            stream = await client.images.generate(prompt="x", size="32x32", stream=True)
            edited = await client.images.edit(image=png(), prompt="y")
            return [
                whole.data[0].b64_json,
                *[event.b64_json async for event in stream],
                edited.data[0].b64_json,
            ]

    whole, streamed, edited = asyncio.run(go())
    assert whole == streamed
    assert decoded(edited).size == (48, 32)


@pytest.mark.parametrize(
    ("arguments", "kind", "param"),
    [
        ({"model": "gone"}, openai.NotFoundError, "model"),
        ({"model": "echo"}, openai.BadRequestError, "model"),
        ({"n": 11}, openai.BadRequestError, "n"),
        ({"size": "huge"}, openai.BadRequestError, "size"),
        ({"output_format": "webp"}, openai.BadRequestError, "output_format"),
        ({"extra_body": {"sampler": "best"}}, openai.BadRequestError, "sampler"),
        ({"extra_body": {"loras": {"secret": 1}}}, openai.BadRequestError, "loras"),
        ({"size": "1024x1024", "extra_body": {"steps": 4}}, openai.BadRequestError, "size"),
    ],
)
def test_refusals(
    client: openai.OpenAI, arguments: dict[str, Any], kind: type[openai.APIStatusError], param: str
) -> None:
    for stream in (False, True):
        with pytest.raises(kind) as refused:
            client.images.generate(**{"prompt": "x", "stream": stream, **arguments})
        assert refused.value.param == param
        assert "secret" not in refused.value.message


def test_a_broken_picture(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="`image` must hold a JPEG, PNG or WebP picture"):
        client.images.edit(image=b"GIF89a-and-nothing-else", prompt="x")
    with pytest.raises(openai.BadRequestError, match="`mask` holds a picture that is damaged"):
        client.images.edit(image=png(), mask=png()[:60], prompt="x")


# -------------------------------------------------------------------------------------------------------- plain HTTP


def first_picture(answer: Any) -> Image.Image:
    assert answer.status == 200, answer.body
    return decoded(answer.json["data"][0]["b64_json"])


def test_metadata_is_left_out_on_demand(server: RunningServer) -> None:
    body = {"prompt": "a secret", "size": "32x32"}
    assert text_of(first_picture(server.ask("POST", GENERATIONS, body))).startswith("a secret")
    for word in ("off", "OFF", "false"):
        answer = server.ask("POST", GENERATIONS, body, {"x-quintet-metadata": word})
        assert text_of(first_picture(answer)) == ""
    assert text_of(first_picture(server.ask("POST", GENERATIONS, {**body, "metadata": False}))) == ""


def test_metadata_is_left_out_by_the_server(tmp_path: Any) -> None:
    (tmp_path / "files" / "of a server that was killed").mkdir(parents=True, mode=0o700)
    settings = {"images__metadata": "false", "files__base_url": "https://pictures.example.org/q/"}
    with RunningServer.start(tmp_path, default_image_model="echo-image", **settings) as server:
        body = {"prompt": "a secret", "size": "32x32", "metadata": True}
        answer = server.ask("POST", GENERATIONS, body, {"x-quintet-metadata": "on"})
        assert text_of(first_picture(answer)) == ""
        linked = server.ask("POST", GENERATIONS, {**body, "response_format": "url"}).json["data"][0]["url"]
        assert linked.startswith("https://pictures.example.org/q/files/")
        files = list((tmp_path / "files").glob("*/*"))
        assert {path.name for path in files} == {"lock", "1"}
        assert all(path.stat().st_mode & 0o777 == 0o600 for path in files)
    assert not list((tmp_path / "files").iterdir()), "gone with the server"


def test_an_edit_in_json(server: RunningServer) -> None:
    url = "data:image/png;base64," + base64.b64encode(png((40, 24))).decode()
    answer = server.ask("POST", EDITS, {"image": url, "mask": url, "prompt": "x", "strength": 0.4})
    assert first_picture(answer).size == (40, 24)
    assert server.ask("POST", EDITS, {"prompt": "x"}).json["error"]["param"] == "image"
    local = server.ask("POST", EDITS, {"image": "http://127.0.0.1:1/x.png", "prompt": "x"})
    assert local.status == 400


def test_more_than_the_tier_may_ask_for(server: RunningServer) -> None:
    """4,000,000 pixel-steps: refused before anything is drawn, with the numbers; what fits is drawn."""
    refused = server.ask("POST", GENERATIONS, {"prompt": "x", "size": "512x512", "steps": 4, "n": 4})
    assert (refused.status, refused.json["error"]["code"]) == (400, "budget_exceeded")
    assert "4,194,304" in refused.json["error"]["message"]
    assert "4,000,000" in refused.json["error"]["message"]
    answer = server.ask("POST", GENERATIONS, {"prompt": "x", "size": "512x512", "steps": 15})
    assert first_picture(answer).size == (512, 512)
    url = "data:image/png;base64," + base64.b64encode(png((1024, 1024))).decode()
    edit = {"image": url, "prompt": "x", "steps": 4}
    assert server.ask("POST", EDITS, edit).json["error"]["code"] == "budget_exceeded"
    assert server.ask("POST", EDITS, {**edit, "steps": 3}).status == 200


@pytest.mark.parametrize("case", list(bad_drawings()), ids=str)
def test_bad_bodies(server: RunningServer, case: Case) -> None:
    check_refusal(case, server.ask("POST", case.path, case.body, dict(case.headers)))


def test_nothing_of_bad_bodies_is_in_the_log(server: RunningServer) -> None:
    assert server.ask("POST", GENERATIONS, {"prompt": SECRET, "size": "32x32"}).status == 200
    assert SECRET not in "\n".join(server.log)
