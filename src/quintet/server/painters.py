"""What the server says of its models that draw: the lists of VisionCraft's clients, and the pages under /imagine."""

from __future__ import annotations

import os
from collections.abc import Iterator

from quintet.core.errors import ModelNotFound
from quintet.core.machine import free_memory_bytes, memory_bytes
from quintet.core.models import Model, ModelState, Task
from quintet.core.samplers import SAMPLERS
from quintet.dialects import imagine, visioncraft
from quintet.dialects.base import Reply
from quintet.runtime.service import Service, check_installed
from quintet.server.exchange import Exchange
from quintet.server.health import NOT_HERE

REFINER = "refiner"


class Painters:
    """The read-only pages about models that draw."""

    def __init__(self, service: Service, default_image_model: str) -> None:
        """The pages under /imagine are about the default."""
        self._service = service
        self._default_image_model = default_image_model

    async def models(self, exchange: Exchange) -> Reply:
        """GET /sd/models and the older lists of it: every model that draws; all of them fit every route."""
        return self._names("image")

    async def text_models(self, exchange: Exchange) -> Reply:
        """GET /models-llm."""
        return self._names("text", "vision")

    async def upscalers(self, exchange: Exchange) -> Reply:
        """GET /models-upscale."""
        return self._names("upscale")

    async def samplers(self, exchange: Exchange) -> Reply:
        """GET /sd/samplers and the older lists of it: those that work."""
        return visioncraft.names_reply(SAMPLERS)

    async def loras(self, exchange: Exchange) -> Reply:
        """GET /sd/loras and the older lists of it: those of all models that draw."""
        found = [name for model in self._usable("image", "animation") for name in model.loras]
        return visioncraft.names_reply(sorted(found))

    async def refiners(self, exchange: Exchange) -> Reply:
        """GET /img2img/refiners: those that are named so, and those that a model's entry names."""
        known = list(self._usable("image"))
        named = {str(model.options.get(REFINER, "")) for model in known} - {""}
        found = [model.name for model in known if REFINER in model.name or {model.name, model.path} & named]
        return visioncraft.names_reply([visioncraft.NO_REFINER, *found])

    async def imagine_health(self, exchange: Exchange) -> Reply:
        """GET /imagine/health."""
        return imagine.health_reply(not self._trouble()[1])

    async def imagine_info(self, exchange: Exchange) -> Reply:
        """GET /imagine/info."""
        model, trouble = self._trouble()
        load = imagine.Load(
            cpu_percent=min(100.0, 100.0 * os.getloadavg()[0] / (os.cpu_count() or 1)),
            available_bytes=free_memory_bytes(),
            total_bytes=memory_bytes(),
        )
        return imagine.info_reply(self._default_image_model, model, trouble, load)

    def _names(self, *tasks: Task) -> Reply:
        return visioncraft.names_reply(model.name for model in self._usable(*tasks))

    def _usable(self, *tasks: Task) -> Iterator[Model]:
        for status in self._service.models():
            if status.model.task in tasks and status.state not in NOT_HERE:
                yield status.model

    def _trouble(self) -> tuple[Model | None, str]:
        """The default model, and why it can't draw; empty if it can, loaded or not."""
        try:
            model = self._service.resolve(self._default_image_model)
            check_installed(model, self._service.can_run)
        except ModelNotFound as error:
            return None, error.message
        status = self._service.status(model)
        if status.state is ModelState.FAILED:
            return model, status.reason or "The model failed to load. The log says why."
        return model, ""
