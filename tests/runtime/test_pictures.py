"""What the service does with pictures before an engine sees them."""

from __future__ import annotations

import asyncio
import gc
import io
import os
import sys
import tracemalloc
from collections.abc import Awaitable, Callable
from contextlib import aclosing

import PIL.Image
import pytest

from quintet.core.content import Image, Message
from quintet.core.errors import InvalidRequest, Overloaded, QuintetError
from quintet.core.models import Model, ModelState
from quintet.core.requests import ImageRequest, Limits, Request, TextRequest, TokenizeRequest
from quintet.media.decoder import Decoder
from quintet.media.fetch import Fetcher, FetchPolicy
from quintet.media.images import normalise
from quintet.runtime import frames
from quintet.runtime.pictures import PictureRoom
from tests.runtime.house import echo, open_house, until

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


def test_pictures_are_counted_while_their_model_loads() -> None:
    async def go() -> None:
        async with open_house(echo(task="vision")) as house:
            room = house.service._pictures
            request = TextRequest(model="echo", prompt=(Image(data=jpeg()), "x"))
            answer = asyncio.get_running_loop().create_task(house.answer(request))
            await until(lambda: room.held_bytes > 0, 10)
            assert house.backend.status(house.models[0]).state is not ModelState.READY
            assert (await answer).choices
            assert room.held_bytes == 0

    asyncio.run(go())


def test_what_was_sent_to_the_worker_is_not_kept_beside_the_request() -> None:
    noise = PIL.Image.frombytes("RGB", (256, 256), os.urandom(3 * 256 * 256))
    file = io.BytesIO()
    noise.save(file, "PNG")
    request = TextRequest(
        model="echo",
        prompt=(Image(data=file.getvalue()), "a b c"),
        limits=Limits(max_new_tokens=9999, ignore_eos=True),
    )

    async def go() -> None:
        async with open_house(echo(task="vision", tokens_per_second=20, cycle=True)) as house:
            tracemalloc.start()
            try:
                async with aclosing(house.stream(request)) as events:
                    await anext(events)
                    found = tracemalloc.take_snapshot().traces
                held = sum(trace.size for trace in found if trace.traceback[0].filename == frames.__file__)
                assert held < 100_000 < len(file.getvalue())
            finally:
                tracemalloc.stop()

    asyncio.run(go())


@pytest.mark.parametrize("leaves", [False, True])
def test_a_picture_that_came_to_nothing_is_let_go_without_the_collector(leaves: bool) -> None:
    """Errors know the frames they passed, and so could hold megabytes that no budget counts any more."""
    data = jpeg(300, 300)[:-200] + bytes(2)

    async def go() -> None:
        async with open_house(echo(task="vision")) as house:
            gc.collect()
            gc.disable()
            try:
                request = TextRequest(model="echo", prompt=(Image(data=data),))
                work = asyncio.get_running_loop().create_task(house.ending(request))
                del request
                await until(lambda: house.service._pictures.held_bytes > 0, 5)
                if leaves:
                    work.cancel()
                    await asyncio.wait({work})
                else:
                    refusal = await work
                    assert isinstance(refusal, QuintetError)
                    refusal = refusal.with_traceback(None)  # as the server does
                del work
                await until(lambda: sys.getrefcount(data) <= before, 10, "still held")
            finally:
                gc.enable()

    before = sys.getrefcount(data)
    asyncio.run(go())


def test_a_mask_stays_a_mask() -> None:
    """The picture that is changed, and where: one of three channels, one of one."""

    async def work(room: PictureRoom) -> None:
        mask = Image(data=jpeg(100, 50), field="mask", is_mask=True)
        request = ImageRequest(model="m", prompts=("a",), source=Image(data=jpeg(100, 50)), mask=mask)
        made = await resolve(room, request)
        assert isinstance(made, ImageRequest)
        modes = []
        for picture in (made.source, made.mask):
            assert size_of(picture) == (64, 32)
            with PIL.Image.open(io.BytesIO(picture.data)) as opened:
                modes.append((opened.mode, picture.is_mask, picture.field))
        assert modes == [("RGB", False, ""), ("L", True, "mask")]

    run(work)
