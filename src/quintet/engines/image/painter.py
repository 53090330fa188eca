"""One model's painter: which passes make a picture, and one picture made by them.

A picture above the native side is drawn at about native size, enlarged and gone over again ("hires fix"), because
models repeat themselves on canvases larger than those they were trained on.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image
from PIL.Image import Image as Picture

from quintet.core.models import Model
from quintet.core.requests import Lora
from quintet.engines.image.asked import Asked
from quintet.engines.image.brush import Brush, Stroke, Way
from quintet.engines.image.denoiser import CACHE, Denoiser, accelerate
from quintet.engines.image.loras import Loras
from quintet.engines.image.prompts import Words
from quintet.engines.image.settings import Settings

Preview = Callable[[], bytes]
OnStep = Callable[[float, float, Preview], None]
"""Told after each step: steps done, steps in all, and how to get a preview; an exception of it ends the picture."""
_LONGEST_NATIVE = 1.5
"""The first pass has about the native number of pixels, and no side longer than this times the native one."""
_LARGEST_REFINED = 2.0
"""Above so many times the native side even a refinement makes parts of the picture into small pictures."""
_WORTH_ENLARGING = 0.95
"""Pictures that are hardly larger than the native size are drawn at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sketch:
    """All that is to be known of one picture before it is painted."""

    words: Words
    asked: Asked
    loras: Sequence[Lora] = ()
    source: Picture | None = None
    mask: Picture | None = None
    strength: float = 1.0
    enlarges: bool = False
    refines: bool = False

    @property
    def size(self) -> tuple[int, int]:
        """Width and height that were asked for."""
        return self.asked.width, self.asked.height

    def with_seed(self, seed: int) -> Sketch:
        """The same picture from other noise."""
        return replace(self, asked=replace(self.asked, seed=seed))


class Painter:
    """A loaded model, with its refiner if it has one. Everything but `plan` belongs to the painting thread."""

    def __init__(self, model: Model, settings: Settings) -> None:
        """Load the model; raises LoadFailed or what diffusers raises."""
        folder = Path(model.path)
        self.brush = Brush(folder, settings)
        self.refiner = Brush(Path(settings.refiner), settings) if settings.refiner else None
        self.native_side = settings.native_side or self.brush.family.native_side
        self._settings = settings
        self._loras = Loras(self.brush.pipeline, model.loras)
        self._denoiser: Denoiser | None = None
        if self.brush.device == "cpu" and settings.denoiser != "torch":
            cache = Path(settings.cache) if settings.cache else folder / CACHE
            self._denoiser = accelerate(
                self.brush.pipeline, folder, cache, settings, keep_torch=bool(model.loras)
            )

    def plan(self, sketch: Sketch) -> list[tuple[Brush, Stroke]]:
        """The passes of a picture, and who makes them. Thread-safe."""
        settings, brush, size = self._settings, self.brush, sketch.size
        if sketch.source is not None:
            way: Way = "redraw" if sketch.mask is None else "inpaint"
            strokes = [(brush, _stroke(brush, sketch, way, size, sketch.strength))]
        else:
            first = self.first_size(sketch)
            strokes = [(brush, _stroke(brush, sketch, "draw", first or size))]
            if first and settings.enlarge_strength:
                larger = self._second_size(sketch)
                strokes.append((brush, _stroke(brush, sketch, "redraw", larger, settings.enlarge_strength)))
        if sketch.refines and self.refiner is not None:
            last = _stroke(self.refiner, sketch, "redraw", size, settings.refiner_strength)
            strokes.append((self.refiner, last))
        return strokes

    def first_size(self, sketch: Sketch) -> tuple[int, int] | None:
        """Size of the first pass of a picture that is to be enlarged; None if it is drawn at once."""
        longest, pixels = max(sketch.size), math.prod(sketch.size)
        scale = min(self.native_side / math.sqrt(pixels), _LONGEST_NATIVE * self.native_side / longest)
        is_small = longest <= self.native_side or scale > _WORTH_ENLARGING
        if not sketch.enlarges or sketch.source is not None or is_small:
            return None
        multiple = self.brush.family.multiple
        width, height = (max(1, round(side * scale / multiple)) * multiple for side in sketch.size)
        return width, height

    def _second_size(self, sketch: Sketch) -> tuple[int, int]:
        """Size of the pass that refines an enlarged picture; what is still missing then is plain enlargement."""
        scale = min(1.0, _LARGEST_REFINED * self.native_side / math.sqrt(math.prod(sketch.size)))
        width, height = (max(1, round(side * scale)) for side in sketch.size)
        return width, height

    def paint(self, sketch: Sketch, on_step: OnStep) -> Picture:
        """Paint one picture; raises what `on_step` raises."""
        plan = self.plan(sketch)
        total = sum(stroke.taken for _, stroke in plan)
        done = 0
        picture = sketch.source
        with self._adapted(sketch.loras):
            for brush, stroke in plan:

                def at_step(
                    share: float, preview: Preview, done: int = done, stroke: Stroke = stroke
                ) -> None:
                    on_step(done + share * stroke.taken, total, preview)

                mask = sketch.mask if stroke.way == "inpaint" else None
                picture = brush.run(stroke, sketch.words, at_step, source=picture, mask=mask)
                done += stroke.taken
        assert picture is not None  # noqa: S101  # a plan is never empty
        return _finished(
            picture,
            sketch,
            is_scaled=sketch.source is not None or len(plan) > 1 or self.first_size(sketch) is not None,
        )

    def close(self) -> None:
        """Let go of the converted denoiser."""
        self._denoiser = None

    @contextlib.contextmanager
    def _adapted(self, loras: Sequence[Lora]) -> Iterator[None]:
        """These LoRAs apply in the block; torch steps in for a converted denoiser, which can't take any."""
        with contextlib.ExitStack() as stack:
            if any(lora.weight for lora in loras):
                if self._denoiser is not None:
                    stack.enter_context(self._denoiser.suspended())
                stack.enter_context(self._loras.applied(loras))
            yield


def _stroke(brush: Brush, sketch: Sketch, way: Way, size: tuple[int, int], strength: float = 1.0) -> Stroke:
    multiple = brush.family.multiple
    width, height = (math.ceil(side / multiple) * multiple for side in size)
    return Stroke(
        way=way,
        width=width,
        height=height,
        steps=sketch.asked.steps,
        taken=min(max(1, int(sketch.asked.steps * strength + 1e-9)), sketch.asked.steps),
        guidance=sketch.asked.guidance,
        seed=sketch.asked.seed,
        sampler=sketch.asked.sampler,
    )


def _finished(picture: Picture, sketch: Sketch, *, is_scaled: bool) -> Picture:
    """The picture at the size asked for; what a mask keeps is the source's own pixels."""
    size = sketch.size
    if picture.size != size and not is_scaled:
        left, top = (picture.width - size[0]) // 2, (picture.height - size[1]) // 2
        picture = picture.crop((left, top, left + size[0], top + size[1]))
    elif picture.size != size:
        picture = picture.resize(size, Image.Resampling.LANCZOS)
    if sketch.source is None or sketch.mask is None:
        return picture
    kept = sketch.source.resize(size, Image.Resampling.LANCZOS)
    return Image.composite(picture, kept, sketch.mask.resize(size, Image.Resampling.BILINEAR))
