"""What the service does with pictures before an engine sees them."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Awaitable, Callable

import PIL.Image
import pytest

from quintet.core.content import Image, Message
from quintet.core.errors import InvalidRequest, Overloaded
from quintet.core.models import Model
from quintet.core.requests import Request, TextRequest, TokenizeRequest
from quintet.media.decoder import Decoder
from quintet.media.fetch import Fetcher, FetchPolicy
from quintet.media.images import normalise
from quintet.runtime.pictures import PictureRoom

MODEL = Model(name="m", task="vision", engine="echo", max_image_side=64)


def jpeg(width: int = 100, height: int = 50, shade: int = 200) -> bytes:
    file = io.BytesIO()
    PIL.Image.new("RGB", (width, height), (shade, 10, 10)).save(file, "JPEG")
    return file.getvalue()


def run(work: Callable[[PictureRoom], Awaitable[None]], **more: int) -> None:
    async def go() -> None:
        room = PictureRoom(Decoder(children=1), Fetcher(FetchPolicy(enabled=False)), **more)
        try:
            await work(room)
            assert room.held_bytes == 0
        finally:
            await room.close()

    asyncio.run(go())


async def resolve(room: PictureRoom, request: Request) -> Request:
    async with room.resolved(MODEL, request) as made:
        return made


def size_of(picture: object) -> tuple[int, int]:
    assert isinstance(picture, Image)
    with PIL.Image.open(io.BytesIO(picture.data), formats=("PNG",)) as opened:
        return opened.size


def test_pictures_keep_their_places_and_nothing_of_their_files() -> None:
    request = TextRequest(
        model="m",
        messages=(
            Message("user", ("a", Image(data=jpeg(100, 50), field="x"), "b", Image(data=jpeg(20, 40)))),
            Message("assistant", ("c",)),
            Message("user", (Image(data=jpeg(30, 30)),)),
        ),
        prompt=(Image(data=jpeg(64, 64)), "d"),
    )

    async def work(room: PictureRoom) -> None:
        made = await resolve(room, request)
        assert isinstance(made, TextRequest)
        first, second, third = (message.parts for message in made.messages)
        assert (first[0], first[2], second) == ("a", "b", ("c",))
        assert isinstance(first[1], Image)
        assert first[1].field == "x"
        assert [size_of(one) for one in (first[1], first[3], third[0], made.prompt[0])] == [
            (64, 32),
            (20, 40),
            (30, 30),
            (64, 64),
        ]

    run(work)


def test_what_holds_no_picture_is_left_as_it_is() -> None:
    async def work(room: PictureRoom) -> None:
        for request in (TextRequest(model="m", prompt=("a",)), TokenizeRequest(model="m", prompt="a")):
            assert await resolve(room, request) is request

    run(work)


def test_errors_name_the_field() -> None:
    async def work(room: PictureRoom) -> None:
        for picture in (
            Image(data=b"GIF89a" * 9, field="images[1][0]"),
            Image(url="https://x.org/a.png", field="images[1][0]"),
        ):
            with pytest.raises(InvalidRequest) as refused:
                await resolve(room, TextRequest(model="m", prompt=(Image(data=jpeg()), picture)))
            assert refused.value.param == "images[1][0]"

    run(work)


def test_all_pictures_together_are_bounded_until_their_requests_end() -> None:
    data = jpeg()
    fits = TextRequest(model="m", prompt=(Image(data=data), Image(data=data)))

    async def work(room: PictureRoom) -> None:
        await resolve(room, fits)
        with pytest.raises(Overloaded):
            await resolve(room, TextRequest(model="m", prompt=(Image(data=data),) * 3))
        async with room.resolved(MODEL, fits) as made:
            assert isinstance(made, TextRequest)
            assert room.held_bytes == sum(len(one.data) for one in made.prompt if isinstance(one, Image))
            with pytest.raises(Overloaded):
                await resolve(room, fits)

    made = len(normalise(data, max_side=MODEL.max_image_side))
    run(work, max_held_bytes=2 * (len(data) + made))
