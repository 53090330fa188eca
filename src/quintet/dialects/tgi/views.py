"""GET /info and /health as values → bytes."""

from __future__ import annotations

from quintet import __version__
from quintet.core.models import ModelStatus
from quintet.dialects import sse
from quintet.dialects.base import Reply
from quintet.dialects.tgi.parse import MAX_BEST_OF, MAX_STOPS


def info_reply(status: ModelStatus) -> Reply:
    """What TGI's /info says of the default model: the keys of all its releases together."""
    model = status.model
    most = model.context_length - 1 if model.max_input_tokens is None else model.max_input_tokens
    return Reply(
        body=sse.encode_json(
            {
                "model_id": model.name,
                "model_sha": None,
                "model_dtype": "auto",
                "model_device_type": status.device.lower() or None,
                "model_pipeline_tag": "image-text-to-text" if model.can_see else "text-generation",
                "max_concurrent_requests": model.max_in_flight,
                "max_best_of": MAX_BEST_OF,
                "max_stop_sequences": MAX_STOPS,
                "max_input_tokens": most,
                "max_input_length": most,
                "max_total_tokens": model.context_length,
                "max_sequence_length": model.context_length,
                "validation_workers": 1,
                "max_client_batch_size": 4,
                "router": "quintet",
                "version": __version__,
                "sha": None,
                "docker_label": None,
            }
        )
    )


def health_reply() -> Reply:
    """What TGI's /health says while the server can answer."""
    return Reply(body=b'{"status":"healthy"}')
