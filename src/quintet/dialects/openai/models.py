"""GET /v1/models and /v1/models/{id} as values → bytes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from quintet.core.models import ModelStatus
from quintet.dialects import sse
from quintet.dialects.base import Reply


def models_reply(statuses: Iterable[ModelStatus]) -> Reply:
    """The list of models that the caller may use."""
    return Reply(body=sse.encode_json({"object": "list", "data": [_model(status) for status in statuses]}))


def model_reply(status: ModelStatus) -> Reply:
    """One model. For an unknown one the server raises ModelNotFound and uses `refuse`."""
    return Reply(body=sse.encode_json(_model(status)))


def _model(status: ModelStatus) -> dict[str, Any]:
    model = status.model
    return {
        "id": model.name,
        "object": "model",
        "created": model.created,
        "owned_by": "quintet",
        "aliases": model.aliases,
        "task": model.task,
        "state": status.state,
        "context_length": model.context_length,
    }
