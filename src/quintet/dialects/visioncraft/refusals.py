"""Errors as VisionCraft's Python client (1.0.8) tells them apart: by status, and by some words of the message.

403 is InvalidAPIKey to it, "doesn't have NAME" InvalidParam, "users can … per N seconds" RateLimitExceeded, any other
404 EndpointNotFound, and the rest HTTPError with the status.
"""

from __future__ import annotations

import copy

from quintet.core.errors import ModelNotFound, QuintetError, Unauthenticated
from quintet.dialects.errors import wait_seconds

TOO_MANY = 429
_MISSING = {
    "sampler_not_found": "This server doesn't have sampler names like that.",
    "lora_not_found": "This model doesn't have loras like that.",
}


def in_client_words(error: QuintetError) -> QuintetError:
    """The same error, said so that the client raises its own class for it."""
    told = copy.copy(error)
    if isinstance(error, Unauthenticated):
        told.status = 403
    elif isinstance(error, ModelNotFound):
        told.message = f"This server doesn't have model weights under that name. {error.message}"
    elif error.code in _MISSING:
        told.message = f"{_MISSING[error.code]} {error.message}"
    elif error.status == TOO_MANY and (wait := wait_seconds(error)) is not None:
        told.message = f"Until it is over, users can try once per {wait} seconds. {error.message}"
    return told
