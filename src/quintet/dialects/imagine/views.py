"""GET /imagine/health and /imagine/info as values → bytes."""

from __future__ import annotations

from dataclasses import dataclass

from quintet.core.models import Model
from quintet.dialects import sse
from quintet.dialects.base import Reply
from quintet.dialects.imagine.parse import MAX_SIDE, MIN_SIDE


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """How busy the machine is."""

    cpu_percent: float
    available_bytes: int
    total_bytes: int


def health_reply(is_usable: bool) -> Reply:
    """Whether pictures can be asked for."""
    return Reply(body=sse.encode_json({"status": "healthy" if is_usable else "degraded"}))


def info_reply(name: str, model: Model | None, error: str, load: Load) -> Reply:
    """What draws, with its defaults. A model that is loaded when it is first asked counts as loaded: it answers."""
    defaults = model.defaults if model is not None else {}
    return Reply(
        body=sse.encode_json(
            {
                "model": model.name if model is not None else name,
                "is_loaded": not error,
                "error": error or None,
                "config": {
                    "default_steps": defaults.get("steps"),
                    "default_guidance": defaults.get("guidance"),
                    "min_img_size": MIN_SIDE,
                    "max_img_size": MAX_SIDE,
                    "default": True,
                },
                "system_info": {
                    "cpu_usage": round(load.cpu_percent, 1),
                    "available_memory": round(load.available_bytes / 2**30, 2),
                    "total_memory": round(load.total_bytes / 2**30, 2),
                },
            }
        )
    )
