"""Requests for pictures with more pixels: checked off the painting thread, then made in one turn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL.Image import Image as Picture

from quintet.core.events import Media, Usage
from quintet.core.requests import UpscaleRequest
from quintet.engines.image.pictures import decode
from quintet.engines.image.record import encode_png
from quintet.engines.image.upscaler import Upscaler
from quintet.engines.image.work import Report


class EnlargementDesk:
    """Takes pictures that are to become larger."""

    def __init__(self, upscaler: Upscaler, device: str) -> None:
        self.device = device
        self._upscaler = upscaler

    def prepare(self, request: UpscaleRequest) -> Enlargement:
        """The work of a request; raises InvalidRequest that names the field. Thread-safe."""
        picture = decode(request.picture)
        return Enlargement(request, picture, self._upscaler.size(picture.size, request.scale), self._upscaler)

    def close(self) -> None:
        """Nothing is held beside the model."""


@dataclass(frozen=True, slots=True)
class Enlargement:
    """One picture that is to become larger; implements engines.image.work.Work."""

    request: UpscaleRequest
    picture: Picture
    size: tuple[int, int]
    upscaler: Upscaler
    stage: str = "enlarge"
    turns: int = 1
    seed: None = None
    wants_previews: bool = False

    @property
    def owner(self) -> str:
        """Who asked for it."""
        return self.request.owner

    def run(self, turn: int, report: Report) -> Sequence[Media]:
        """Make it larger."""

        def on_tile(done: int, total: int) -> None:
            report(done, total, no_preview)

        made = self.upscaler.upscale(self.picture, self.request.scale, on_tile)
        return [Media("image/png", encode_png(made))]

    def usage(self) -> Usage:
        """Its pixels, each made once."""
        return Usage(images=1, pixel_steps=self.size[0] * self.size[1])


def no_preview() -> bytes:
    """Tiles can't be looked at half-way."""
    return b""
