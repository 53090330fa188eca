"""What one request for pictures counts, and which tiers may ask for it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from quintet.core.content import Image
from quintet.core.errors import InvalidRequest
from quintet.core.events import Outcome
from quintet.core.identity import Principal
from quintet.core.models import Model
from quintet.core.requests import AnimationRequest, EmbeddingRequest, ImageRequest, Request, TextRequest
from quintet.engines.echo.pictures import png
from quintet.runtime.allowance import check_pixel_steps
from quintet.runtime.defaults import with_defaults
from tests.runtime.house import ALICE, open_house

FREE = Principal(owner="ada", tier="free")


def image(**more: Any) -> ImageRequest:
    return ImageRequest(model="m", **{"prompts": ("a",), "width": 64, "height": 32, "steps": 10, **more})


@pytest.mark.parametrize(
    ("request_", "counts"),
    [
        (image(), 64 * 32 * 10),
        (image(prompts=("a", "b"), images_per_prompt=3), 64 * 32 * 10 * 6),
        (image(width=None, height=None, steps=None), 512 * 512 * 30),
        (image(width=None, height=None, source=Image(data=png(48, 40, (1, 2, 3)))), 48 * 40 * 10),
        (image(source=Image(data=png(48, 40, (1, 2, 3)))), 64 * 32 * 10),
        (AnimationRequest(model="m", prompt="a", width=8, height=8, steps=2, frames=5), 8 * 8 * 2 * 5),
        (AnimationRequest(model="m", prompt="a"), 512 * 512 * 30 * 16),
    ],
)
def test_what_a_request_counts(request_: Request, counts: int) -> None:
    check_pixel_steps({"free": counts}, FREE, request_)
    with pytest.raises(InvalidRequest) as refused:
        check_pixel_steps({"free": counts - 1}, FREE, request_)
    error = refused.value
    assert (error.code, error.param, error.status) == ("budget_exceeded", "width", 400)
    assert error.facts == {"pixel_steps": counts, "max_pixel_steps": counts - 1}
    assert f"{counts:,}" in error.message
    assert ("frames" in error.message) == isinstance(request_, AnimationRequest)


def test_who_may_ask_for_anything() -> None:
    for most in ({}, {"pro": 1}):
        check_pixel_steps(most, FREE, image(width=10**6, height=10**6))
    for request in (TextRequest(model="m", prompt=("a",)), EmbeddingRequest(model="m", texts=("a",))):
        check_pixel_steps({"free": 1}, FREE, request)


def test_a_picture_that_is_changed_keeps_its_size() -> None:
    """The catalog's size is for pictures out of nothing."""
    model = Model(name="m", task="image", engine="echo", defaults={"width": 512, "height": 512, "steps": 7})
    bare = ImageRequest(model="m", prompts=("a",))
    made = with_defaults(model, bare)
    assert isinstance(made, ImageRequest)
    assert (made.width, made.height, made.steps) == (512, 512, 7)
    changed = with_defaults(model, ImageRequest(model="m", prompts=("a",), source=Image(data=b"x")))
    assert isinstance(changed, ImageRequest)
    assert (changed.width, changed.height, changed.steps) == (None, None, 7)


def test_nothing_is_begun_for_what_is_refused() -> None:
    async def go() -> None:
        model = Model(name="m", task="image", engine="echo")
        async with open_house(model) as house:
            house.service.pixel_steps = {ALICE.tier: 64 * 32 * 10 - 1}
            error = await house.ending(image())
            assert isinstance(error, InvalidRequest)
            assert error.code == "budget_exceeded"
            assert house.backend.worker_pid(model) is None
            outcome = await house.ending(image(steps=9))
            assert isinstance(outcome, Outcome)
            assert len(outcome.media) == 1

    asyncio.run(go())
