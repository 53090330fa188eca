"""The image engine: requests in, pictures and animations out.

A desk checks requests and knows how to paint them; the easel's thread paints, a turn at a time. The stepping thread
only passes on what came of it, so a cancel is never behind a picture: it takes effect after the step under way.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from quintet.core.errors import LoadFailed, Unsupported
from quintet.core.models import Model
from quintet.core.ports import EngineInfo, Output
from quintet.core.requests import TASKS, Request
from quintet.engines.image.brush import device_name, pick_device, version
from quintet.engines.image.digests import Digests
from quintet.engines.image.easel import Easel
from quintet.engines.image.families import weight_files
from quintet.engines.image.painter import Painter
from quintet.engines.image.pictures import PictureDesk
from quintet.engines.image.settings import Settings
from quintet.engines.image.work import Work

WAIT_SECONDS = 0.05
"""A step waits so long for the easel at most."""


class Desk(Protocol):
    """Takes the requests of one loaded model."""

    @property
    def device(self) -> str:
        """Where it paints, for people."""
        ...

    def prepare(self, request: Any) -> Work:
        """The work of a request of its kind; raises InvalidRequest. Thread-safe."""
        ...

    def close(self) -> None:
        """Free what is held."""
        ...


def open_engine(model: Model) -> ImageEngine:
    """Load a model directory; the engine room's one door. Raises LoadFailed."""
    return ImageEngine(model, Settings.of(model))


class ImageEngine:
    """One loaded model that draws; implements core.ports.Engine."""

    def __init__(self, model: Model, settings: Settings) -> None:
        """Load the weights of `model`."""
        self._model = model
        self.desk: Desk = open_desk(model, settings)
        self._easel = Easel(settings.threads or len(os.sched_getaffinity(0)))

    def info(self) -> EngineInfo:
        """Facts fixed at load time."""
        return EngineInfo(device=self.desk.device, version=version())

    def prepare(self, request: Request) -> Work:
        """Checks, and pictures decoded; raises InvalidRequest. Thread-safe."""
        if self._model.task not in TASKS[type(request)]:
            raise Unsupported(
                f"This model is for {self._model.task}; choose one for what you ask.", param="model"
            )
        return self.desk.prepare(request)

    def submit(self, request_id: int, prepared: object) -> None:
        """Queue prepared work under an id."""
        self._easel.add(request_id, prepared)  # type: ignore[arg-type]  # what `prepare` returned

    def cancel(self, request_id: int) -> None:
        """Forget a request; its picture is given up after the step under way."""
        self._easel.forget(request_id)

    def busy(self) -> bool:
        """Whether `step` has anything to do."""
        return self._easel.busy

    def step(self) -> Sequence[tuple[int, Output]]:
        """What was painted since the last step; waits a moment if there is nothing."""
        return self._easel.collect(WAIT_SECONDS)

    def close(self) -> None:
        """Free everything; safe to call twice."""
        self._easel.close()
        self.desk.close()


def open_desk(model: Model, settings: Settings) -> Desk:
    """Load a model for what its catalog entry says it is for; raises LoadFailed. Others' code is not even imported."""
    match model.task:
        case "image":
            painter = Painter(model, settings)
            files = weight_files(painter.brush.folder, painter.brush.family)
            return PictureDesk(painter, settings, model.name, Digests(files, model.loras))
        case "animation":
            from quintet.engines.image.animation import Animator
            from quintet.engines.image.clips import ClipDesk

            files = sorted(Path(model.path).glob("*.safetensors"))
            return ClipDesk(Animator(model, settings), settings, model.name, Digests(files, model.loras))
        case "upscale":
            from quintet.engines.image.enlargements import EnlargementDesk
            from quintet.engines.image.upscaler import Upscaler

            device = pick_device(settings)
            folder = Path(model.path) if model.path else None
            return EnlargementDesk(Upscaler(folder, device=device), device_name(device))
    raise LoadFailed(f"The image engine has nothing for {model.task}; check `task` of model `{model.name}`.")
