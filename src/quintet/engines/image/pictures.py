"""Requests for pictures: checked and made whole off the painting thread, then painted turn by turn."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from PIL import Image
from PIL.Image import Image as Picture

from quintet.core.content import Image as Content
from quintet.core.errors import InvalidRequest, Unsupported
from quintet.core.events import Media, Usage
from quintet.core.requests import ImageRequest
from quintet.engines.image.asked import SEEDS, read_asked
from quintet.engines.image.digests import Digests
from quintet.engines.image.painter import Painter, Sketch
from quintet.engines.image.prompts import Words
from quintet.engines.image.record import Record, encode_png
from quintet.engines.image.settings import Settings
from quintet.engines.image.work import Report


class PictureDesk:
    """Takes requests for pictures of one model."""

    def __init__(self, painter: Painter, settings: Settings, name: str, digests: Digests) -> None:
        self._painter = painter
        self._settings = settings
        self._name = name
        self._digests = digests

    def prepare(self, request: ImageRequest) -> PictureWork:
        """The work of a request; raises InvalidRequest that names the field. Thread-safe."""
        family = self._painter.brush.family
        source, mask = (None if one is None else decode(one) for one in (request.source, request.mask))
        if source is None and not family.can_draw:
            raise Unsupported("This model only goes over pictures; send one in `image`.", param="image")
        if mask is None and family.needs_mask:
            raise Unsupported("This model only fills in masks; send a picture and its `mask`.", param="mask")
        if mask is not None and source is None:
            raise InvalidRequest(
                "`mask` needs a picture in `image` that it says where to change.", param="mask"
            )
        native = self._painter.native_side
        asked = read_asked(
            request, self._painter.brush, self._settings, source.size if source else (native, native)
        )
        if not request.prompts or request.images_per_prompt < 1:
            raise InvalidRequest("Ask for at least one picture.", param="n" if request.prompts else "prompt")
        if not 0 <= request.strength <= 1:
            raise InvalidRequest("`strength` must be between 0 and 1.", param="strength")
        refines = self._refines(request)
        words_of_each = self._words(request)
        for words in words_of_each:
            self._painter.brush.reader.check(words)
        loras = [lora for lora in request.loras if lora.weight]  # weight 0 is none
        sketches = [
            Sketch(
                words=words,
                asked=asked,
                loras=loras,
                source=source,
                mask=mask,
                strength=request.strength,
                enlarges=self._settings.enlarge if request.enlarge is None else request.enlarge,
                refines=refines,
            )
            for words in words_of_each
            for _ in range(request.images_per_prompt)
        ]
        return PictureWork(request, sketches, asked.seed, self._painter, self._record)

    @property
    def device(self) -> str:
        """Where pictures are painted, for people."""
        return self._painter.brush.device_name

    def close(self) -> None:
        """Free what is held."""
        self._painter.close()

    def _words(self, request: ImageRequest) -> list[Words]:
        """One per prompt; what was given once holds for all."""
        count = len(request.prompts)
        kind = self._painter.brush.family.kind
        seconds = _for_each(request.second_prompts, count, "prompt_2")
        negatives = _for_each(request.negative_prompts, count, "negative_prompt")
        second_negatives = _for_each(request.second_negative_prompts, count, "negative_prompt_2")
        none = [""] * count  # many clients send everything to every model
        if not kind.has_second_prompt:
            seconds = second_negatives = none
        if not kind.takes_negative:
            negatives = second_negatives = none
        return [
            Words(prompt=prompt, second=second, negative=negative, second_negative=second_negative)
            for prompt, second, negative, second_negative in zip(
                request.prompts, seconds, negatives, second_negatives, strict=True
            )
        ]

    def _refines(self, request: ImageRequest) -> bool:
        if request.refiner is None:
            return self._settings.refine
        if request.refiner and self._painter.refiner is None:
            raise Unsupported("This model has no refiner; leave `refiner` out.", param="refiner")
        return bool(request.refiner)

    def _record(self, sketch: Sketch) -> str:
        """The text that goes into a picture's file."""
        painter, words, asked = self._painter, sketch.words, sketch.asked
        plan = painter.plan(sketch)
        size = (asked.width, asked.height)
        strength = sketch.strength if sketch.source is not None else None
        more = {}
        if (first := painter.first_size(sketch)) is not None:
            more["Hires resize"] = "{}x{}".format(*size)
            if self._settings.enlarge_strength:
                more["Hires steps"] = str(plan[1][1].taken)
                strength = self._settings.enlarge_strength
            more["Hires upscaler"] = "Lanczos"
            size = first
        if painter.refiner is not None and plan[-1][0] is painter.refiner:
            more["Refiner"] = painter.refiner.folder.name
            more["Refiner strength"] = f"{self._settings.refiner_strength:g}"
        if words.second:
            more["Second prompt"] = words.second
        if words.second_negative:
            more["Second negative prompt"] = words.second_negative
        return Record(
            prompt=words.prompt,
            negative=words.negative,
            steps=asked.steps,
            sampler=asked.sampler.name if asked.sampler is not None else painter.brush.own_sampler,
            guidance=asked.guidance,
            seed=asked.seed,
            size=size,
            model=self._name,
            model_hash=self._digests.model(),
            loras=sketch.loras,
            lora_hashes={lora.name: self._digests.lora(lora.name) for lora in sketch.loras},
            strength=strength,
            more=more,
        ).text()


@dataclass(frozen=True, slots=True)
class PictureWork:
    """One request for pictures; implements engines.image.work.Work."""

    request: ImageRequest
    sketches: Sequence[Sketch]
    seed: int
    painter: Painter
    record: Callable[[Sketch], str]

    stage: str = "denoise"

    @property
    def owner(self) -> str:
        """Who asked for it."""
        return self.request.owner

    @property
    def turns(self) -> int:
        """How many pictures it is."""
        return len(self.sketches)

    @property
    def wants_previews(self) -> bool:
        """Whether somebody looks at the state half-way."""
        return self.request.previews

    def run(self, turn: int, report: Report) -> Sequence[Media]:
        """Paint the picture with this number."""
        sketch = self.sketches[turn].with_seed((self.seed + turn) % SEEDS)

        def on_step(done: float, total: float, preview: Callable[[], bytes]) -> None:
            report(turn * total + done, self.turns * total, preview)

        picture = self.painter.paint(sketch, on_step)
        text = self.record(sketch) if self.request.with_metadata else ""
        return [Media("image/png", encode_png(picture, text), text)]

    def usage(self) -> Usage:
        """What all its pictures were."""
        passes = (stroke for sketch in self.sketches for _, stroke in self.painter.plan(sketch))
        return Usage(images=self.turns, pixel_steps=sum(stroke.pixel_steps for stroke in passes))


def _for_each(texts: Sequence[str], count: int, name: str) -> Sequence[str]:
    """One text per prompt."""
    if len(texts) not in (0, 1, count):
        raise InvalidRequest(f"`{name}` must be one text, or one for each prompt.", param=name)
    return texts if len(texts) == count else [*(texts or [""])] * count


def decode(content: Content) -> Picture:
    """The picture in a checked file."""
    picture = Image.open(io.BytesIO(content.data))
    return picture.convert("L" if content.is_mask else "RGB")
