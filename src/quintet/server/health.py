"""What the server says of itself: alive, ready, and which models it has."""

from __future__ import annotations

from quintet.core.errors import ModelNotFound, NotReady
from quintet.core.models import ModelState
from quintet.dialects import openai, tgi
from quintet.dialects.base import Reply
from quintet.runtime.service import Service
from quintet.server.drain import Drain
from quintet.server.exchange import Exchange

NOT_HERE = (ModelState.ABSENT, ModelState.DOWNLOADING)
"""States of models that are known, but can't be used; model lists leave them out."""


class Health:
    """The read-only pages about one server."""

    def __init__(self, service: Service, drain: Drain, default_model: str) -> None:
        """Readiness is that of the default model."""
        self._service = service
        self._drain = drain
        self._default_model = default_model

    async def health(self, exchange: Exchange) -> Reply:
        """GET /health: the process answers."""
        return tgi.health_reply()

    async def ready(self, exchange: Exchange) -> Reply:
        """GET /ready: requests can be served now."""
        self._drain.check()
        try:
            status = self._service.status(self._service.resolve(self._default_model))
        except ModelNotFound:
            raise NotReady(
                "The default model is not in the catalog. Set default_model to one of GET /v1/models."
            ) from None
        if status.state is ModelState.FAILED:
            raise NotReady(
                "The default model failed to load. The log says why.", retry_after=status.retry_seconds
            )
        if status.state is not ModelState.READY:
            raise NotReady("The default model is not loaded.", retry_after=status.retry_seconds)
        return Reply(body=b'{"status":"ready"}')

    async def info(self, exchange: Exchange) -> Reply:
        """GET /info: TGI's view of the default model."""
        return tgi.info_reply(self._service.status(self._service.resolve(self._default_model)))

    async def models(self, exchange: Exchange) -> Reply:
        """GET /v1/models: those that can be used, whether loaded or not."""
        return openai.models_reply(
            status for status in self._service.models() if status.state not in NOT_HERE
        )

    async def model(self, exchange: Exchange) -> Reply:
        """GET /v1/models/{model}."""
        name = exchange.scope["path_params"]["model"]
        return openai.model_reply(self._service.status(self._service.resolve(name)))
