"""Requests for animations: checked off the painting thread, then painted in one turn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from quintet.core.errors import InvalidRequest
from quintet.core.events import Media, Usage
from quintet.core.requests import AnimationRequest
from quintet.engines.image.animation import (
    DEFAULT_FRAMES,
    DEFAULT_FRAMES_PER_SECOND,
    MOST_FRAMES,
    Animator,
    Clip,
    check_format,
    encode_clip,
)
from quintet.engines.image.asked import read_asked
from quintet.engines.image.digests import Digests
from quintet.engines.image.prompts import Words
from quintet.engines.image.record import Record
from quintet.engines.image.settings import Settings
from quintet.engines.image.work import Report


class ClipDesk:
    """Takes requests for animations of one model."""

    def __init__(self, animator: Animator, settings: Settings, name: str, digests: Digests) -> None:
        self._animator = animator
        self._settings = settings
        self._name = name
        self._digests = digests

    @property
    def device(self) -> str:
        """Where clips are painted, for people."""
        return self._animator.brush.device_name

    def prepare(self, request: AnimationRequest) -> ClipWork:
        """The work of a request; raises InvalidRequest that names the field. Thread-safe."""
        check_format(request)
        frames = request.frames or DEFAULT_FRAMES
        if not 1 <= frames <= MOST_FRAMES:
            raise InvalidRequest(f"`frames` must be between 1 and {MOST_FRAMES}.", param="frames")
        native = self._animator.native_side
        asked = read_asked(request, self._animator.brush, self._settings, (native, native))
        words = Words(prompt=request.prompt, negative=request.negative_prompt)
        self._animator.brush.reader.check(words)
        clip = Clip(
            words=words,
            frames=frames,
            width=asked.width,
            height=asked.height,
            steps=asked.steps,
            guidance=asked.guidance,
            seed=asked.seed,
            sampler=asked.sampler,
            loras=[lora for lora in request.loras if lora.weight],  # weight 0 is none
        )
        return ClipWork(request, clip, self)

    def run(self, work: ClipWork, report: Report) -> Sequence[Media]:
        """Paint a clip."""
        frames = self._animator.animate(work.clip, report)
        return encode_clip(frames, work.request, self._record(work) if work.request.with_metadata else "")

    def pixel_steps(self, clip: Clip) -> int:
        """What a clip costs."""
        return self._animator.pixel_steps(clip)

    def close(self) -> None:
        """Nothing is held beside the model."""

    def _record(self, work: ClipWork) -> str:
        clip, brush = work.clip, self._animator.brush
        return Record(
            prompt=clip.words.prompt,
            negative=clip.words.negative,
            steps=clip.steps,
            sampler=clip.sampler.name if clip.sampler is not None else brush.own_sampler,
            guidance=clip.guidance,
            seed=clip.seed,
            size=(clip.width, clip.height),
            model=self._name,
            model_hash=self._digests.model(),
            loras=clip.loras,
            lora_hashes={lora.name: self._digests.lora(lora.name) for lora in clip.loras},
            more={
                "Frames": str(clip.frames),
                "FPS": f"{work.request.frames_per_second or DEFAULT_FRAMES_PER_SECOND:g}",
            },
        ).text()


@dataclass(frozen=True, slots=True)
class ClipWork:
    """One request for an animation; implements engines.image.work.Work."""

    request: AnimationRequest
    clip: Clip
    desk: ClipDesk
    stage: str = "denoise"

    @property
    def owner(self) -> str:
        """Who asked for it."""
        return self.request.owner

    @property
    def turns(self) -> int:
        """A clip can't be interrupted by another one."""
        return 1

    @property
    def seed(self) -> int:
        """What its noise starts from."""
        return self.clip.seed

    @property
    def wants_previews(self) -> bool:
        """Whether somebody looks at the state half-way."""
        return self.request.previews

    def run(self, turn: int, report: Report) -> Sequence[Media]:
        """Paint it."""
        return self.desk.run(self, report)

    def usage(self) -> Usage:
        """Its frames, and what they cost."""
        return Usage(frames=self.clip.frames, pixel_steps=self.desk.pixel_steps(self.clip))
