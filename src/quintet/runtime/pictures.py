"""Makes the pictures of a request what an engine may see: links fetched, files checked and written anew."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from quintet.core.content import Image, Part
from quintet.core.errors import Overloaded, QuintetError
from quintet.core.models import Model
from quintet.core.requests import Request, TextRequest
from quintet.media.containers import sniff
from quintet.media.decoder import Decoder
from quintet.media.fetch import Fetcher

MAX_HELD_BYTES = 256 * 1024 * 1024


class PictureRoom:
    """The gateway's hands on pictures; one per gateway, on one event loop."""

    def __init__(self, decoder: Decoder, fetcher: Fetcher, *, max_held_bytes: int = MAX_HELD_BYTES) -> None:
        self.held_bytes = 0
        """Files of pictures as they came, of all requests together."""
        self._decoder = decoder
        self._fetcher = fetcher
        self._max_held_bytes = max_held_bytes

    async def resolve(self, model: Model, request: Request) -> Request:
        """The request with every picture as an RGB PNG no larger than the model takes; raises QuintetError."""
        if not isinstance(request, TextRequest) or not has_picture(request):
            return request
        with self._hold(sum(len(picture.data) for picture in pictures_of(request))):
            made = await self._make_all(pictures_of(request), model, request.owner)
        anew = iter(made)

        def replaced(parts: Sequence[Part]) -> tuple[Part, ...]:
            return tuple(next(anew) if isinstance(part, Image) else part for part in parts)

        return replace(
            request,
            prompt=replaced(request.prompt),
            messages=tuple(replace(message, parts=replaced(message.parts)) for message in request.messages),
        )

    async def close(self) -> None:
        """End the decoding processes; no link is fetched any more."""
        await self._fetcher.close()
        await self._decoder.close()

    @contextmanager
    def _hold(self, size: int) -> Iterator[None]:
        """Count files that came with requests until they are made anew; raises Overloaded."""
        if self.held_bytes + size > self._max_held_bytes:
            raise Overloaded("Too many large pictures are waiting. Try again in a moment.", retry_after=2)
        self.held_bytes += size
        try:
            yield
        finally:
            self.held_bytes -= size

    async def _make_all(self, pictures: Sequence[Image], model: Model, owner: str) -> list[Image]:
        """Links side by side, as they mostly wait; what came as bytes one after the other."""
        try:
            async with asyncio.TaskGroup() as group:
                linked = {
                    index: group.create_task(self._fetch(picture, model, owner))
                    for index, picture in enumerate(pictures)
                    if picture.url
                }
                made = {
                    index: await self._make(picture.data, picture.field, model)
                    for index, picture in enumerate(pictures)
                    if not picture.url
                }
        except ExceptionGroup as failures:
            known = failures.subgroup(QuintetError)
            raise (known or failures).exceptions[0] from None
        made |= {index: task.result() for index, task in linked.items()}
        return [made[index] for index in range(len(pictures))]

    async def _fetch(self, picture: Image, model: Model, owner: str) -> Image:
        data = await self._fetcher.fetch(
            picture.url, field=_place(picture.field), wanted=_is_picture, owner=owner
        )
        return await self._make(data, picture.field, model)

    async def _make(self, data: bytes, field: str, model: Model) -> Image:
        made = await self._decoder.normalise(data, max_side=model.max_image_side, field=_place(field))
        return Image(data=made, field=field)


def pictures_of(request: TextRequest) -> list[Image]:
    """All pictures of a request, in order."""
    places = (request.prompt, *(message.parts for message in request.messages))
    return [part for parts in places for part in parts if isinstance(part, Image)]


def has_picture(request: TextRequest) -> bool:
    """Whether a picture stands anywhere in the request."""
    return bool(pictures_of(request))


def _is_picture(head: bytes) -> bool:
    return sniff(head) is not None


def _place(field: str) -> str:
    return field or "prompt"
