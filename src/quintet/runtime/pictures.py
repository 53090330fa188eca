"""Makes the pictures of a request what an engine may see: links fetched, files checked and written anew."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

from quintet.core.budget import Budget, Loan
from quintet.core.content import Image
from quintet.core.errors import Overloaded, QuintetError
from quintet.core.models import Model
from quintet.core.requests import Request, pictures_of, with_pictures
from quintet.media.containers import sniff
from quintet.media.decoder import Decoder
from quintet.media.fetch import Fetcher

MAX_HELD_BYTES = 128 * 1024 * 1024
"""More pictures at once are answered 429."""


class PictureRoom:
    """The gateway's hands on pictures; one per gateway, on one event loop."""

    def __init__(self, decoder: Decoder, fetcher: Fetcher, *, max_held_bytes: int = MAX_HELD_BYTES) -> None:
        self._decoder = decoder
        self._fetcher = fetcher
        self._budget = Budget(max_held_bytes, _too_many)

    @property
    def held_bytes(self) -> int:
        """Pictures of all requests together, as they came and as they were made."""
        return self._budget.held_bytes

    @asynccontextmanager
    async def resolved(self, model: Model, request: Request) -> AsyncIterator[Request]:
        """The request with every picture as an RGB PNG no larger than the model takes; raises QuintetError.

        What it holds in memory counts until the block is left.
        """
        pictures = pictures_of(request)
        if not pictures:
            yield request
            return
        with self._budget.loan() as loan:
            originals = sum(len(picture.data) for picture in pictures)
            loan.take(originals)
            made = await self._make_all(pictures, model, request.owner, loan)
            del pictures
            loan.give_back(originals)
            request = with_pictures(request, made)
            del made
            yield request

    async def close(self) -> None:
        """End the decoding processes; no link is fetched any more."""
        await self._fetcher.close()
        await self._decoder.close()

    async def _make_all(self, pictures: Sequence[Image], model: Model, owner: str, loan: Loan) -> list[Image]:
        """All pictures, or a failure that keeps none of them in memory."""
        try:
            return await self._make_together(pictures, model, owner, loan)
        # Frames of a task group refer to the pictures and, in a circle, to what it raises: such a failure would keep
        # them until the collector comes by.
        except ExceptionGroup as failures:
            raise _first(failures.with_traceback(None)) from None
        except asyncio.CancelledError as cancelled:
            raise cancelled.with_traceback(None) from None

    async def _make_together(
        self, pictures: Sequence[Image], model: Model, owner: str, loan: Loan
    ) -> list[Image]:
        """Links side by side, as they mostly wait; what came as bytes one after the other."""
        async with asyncio.TaskGroup() as group:
            linked = {
                index: group.create_task(self._fetch(picture, model, owner, loan))
                for index, picture in enumerate(pictures)
                if picture.url
            }
            made = {
                index: await self._make(picture, picture.data, model, loan)
                for index, picture in enumerate(pictures)
                if not picture.url
            }
        made |= {index: task.result() for index, task in linked.items()}
        return [made[index] for index in range(len(pictures))]

    async def _fetch(self, picture: Image, model: Model, owner: str, loan: Loan) -> Image:
        data = await self._fetcher.fetch(
            picture.url, field=_place(picture.field), wanted=_is_picture, owner=owner
        )
        loan.take(len(data))
        made = await self._make(picture, data, model, loan)
        loan.give_back(len(data))
        return made

    async def _make(self, picture: Image, data: bytes, model: Model, loan: Loan) -> Image:
        made = await self._decoder.normalise(
            data, max_side=model.max_image_side, field=_place(picture.field), is_mask=picture.is_mask
        )
        loan.take(len(made))
        return replace(picture, data=made, url="")


def _too_many() -> QuintetError:
    return Overloaded("Too many large pictures are being worked on. Try again in a moment.", retry_after=2)


def _first(failures: ExceptionGroup[Exception]) -> Exception:
    """The one to tell."""
    known = (failure for failure in failures.exceptions if isinstance(failure, QuintetError))
    return next(known, failures.exceptions[0])


def _is_picture(head: bytes) -> bool:
    return sniff(head) is not None


def _place(field: str) -> str:
    return field or "prompt"
