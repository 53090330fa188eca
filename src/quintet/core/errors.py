"""Everything that can go wrong, as one tree; messages are safe to show and say what to do next.

    QuintetError
    ├── InvalidRequest            400   the caller's body or parameters
    │   ├── ContextTooLong        400
    │   ├── Unsupported           400   the model can't do that
    │   └── PoisonRequest         400   this body crashed the engine before
    ├── Unauthenticated           401
    ├── Banned                    403
    ├── Forbidden                 403
    │   └── QuotaExceeded         403
    ├── NotFound                  404
    │   └── ModelNotFound         404
    ├── MethodNotAllowed          405
    ├── RequestTimeout            408   the caller sent too slowly
    ├── Conflict                  409
    ├── PayloadTooLarge           413
    ├── UnsupportedMediaType      415
    ├── RateLimited               429   this caller is too fast
    ├── Overloaded                429   this model is full
    ├── EngineFailed              500
    ├── WorkerLost                502
    ├── NotReady                  503
    │   ├── LoadFailed            503
    │   ├── ShuttingDown          503
    │   └── StoreUnavailable      503
    ├── DeadlineExceeded          504
    └── InsufficientStorage       507

`kind` is OpenAI's `error.type`, `code` its `error.code`, `tgi_type` TGI's `error_type`; all three are the
field's words, so every dialect renders from the same four facts (reliability table 5.2).
"""

from __future__ import annotations

from collections.abc import Mapping


class QuintetError(Exception):
    """Base of all errors that may cross a room's door."""

    status: int = 500
    kind: str = "server_error"
    code: str = "internal_error"
    tgi_type: str = "generation"
    should_retry: bool = False
    """Whether sending the same request again can help; becomes `x-should-retry`."""

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        retry_after: float | None = None,
        facts: Mapping[str, int] | None = None,
    ) -> None:
        """`param` names the offending field; `retry_after` is in seconds; `facts` are the message's numbers."""
        super().__init__(message)
        self.message = message
        self.code = code or type(self).code
        self.param = param
        self.retry_after = retry_after
        self.facts: Mapping[str, int] = facts or {}


class InvalidRequest(QuintetError):
    """The body or a parameter breaks a rule."""

    status, kind, code, tgi_type = 400, "invalid_request_error", "invalid_value", "validation"


class ContextTooLong(InvalidRequest):
    """Prompt and answer don't fit into the model's context.

    `facts`, for dialects with words of their own: prompt_tokens with max_prompt_tokens if the prompt alone is too
    long, else with new_tokens and context_length; none if the prompt's length is not known exactly.
    """

    code = "context_length_exceeded"


class Unsupported(InvalidRequest):
    """The model or engine can't do what was asked."""

    code = "unsupported"


class PoisonRequest(InvalidRequest):
    """The same body crashed the engine before and is quarantined."""

    code, tgi_type = "request_crashed_engine", "generation"


class Unauthenticated(QuintetError):
    """No valid credential."""

    status, kind, code, tgi_type = 401, "authentication_error", "invalid_api_key", "authentication"


class Banned(QuintetError):
    """Too many failed attempts from this address."""

    status, kind, code, tgi_type = 403, "permission_error", "ip_banned", "banned"


class Forbidden(QuintetError):
    """The caller may not do that."""

    status, kind, code, tgi_type = 403, "permission_error", "forbidden", "forbidden"


class QuotaExceeded(Forbidden):
    """The tier's allowance is used up."""

    code = "usage_limit_exceeded"


class NotFound(QuintetError):
    """No such thing, or not this caller's."""

    status, kind, code, tgi_type = 404, "invalid_request_error", "not_found", "not_found"


class ModelNotFound(NotFound):
    """No such model in the catalog."""

    code = "model_not_found"


class MethodNotAllowed(QuintetError):
    """The path exists, the method doesn't."""

    status, kind, code, tgi_type = 405, "invalid_request_error", "method_not_allowed", "validation"


class RequestTimeout(QuintetError):
    """The request arrived too slowly."""

    status, kind, code, tgi_type = 408, "invalid_request_error", "request_timeout", "validation"
    should_retry = True


class Conflict(QuintetError):
    """The thing is in a state that forbids this."""

    status, kind, code, tgi_type = 409, "conflict", "conflict", "conflict"


class PayloadTooLarge(QuintetError):
    """The body is larger than this route takes."""

    status, kind, code, tgi_type = 413, "invalid_request_error", "payload_too_large", "validation"


class UnsupportedMediaType(QuintetError):
    """The body's type or encoding isn't accepted here."""

    status, kind, code, tgi_type = 415, "invalid_request_error", "unsupported_media_type", "validation"


class RateLimited(QuintetError):
    """This caller sends too fast."""

    status, kind, code, tgi_type = 429, "rate_limit_error", "rate_limit_exceeded", "rate_limited"
    should_retry = True


class Overloaded(QuintetError):
    """The model has as many requests in flight as it takes."""

    status, kind, code, tgi_type = 429, "overloaded_error", "model_overloaded", "overloaded"
    should_retry = True


class EngineFailed(QuintetError):
    """The engine failed; the request is not to blame."""

    status, kind, code, tgi_type = 500, "server_error", "engine_error", "generation"
    should_retry = True


class WorkerLost(QuintetError):
    """The worker died before the answer was complete."""

    status, kind, code, tgi_type = 502, "server_error", "worker_lost", "incomplete_generation"
    should_retry = True


class NotReady(QuintetError):
    """The model is loading, restarting or draining."""

    status, kind, code, tgi_type = 503, "server_error", "model_loading", "not_ready"
    should_retry = True


class LoadFailed(NotReady):
    """The model could not be loaded."""

    code = "model_load_failed"


class ShuttingDown(NotReady):
    """The server is going down and takes no new work."""

    code = "shutting_down"


class StoreUnavailable(NotReady):
    """The database can't be reached; never counted as a failed credential."""

    code = "store_unavailable"


class DeadlineExceeded(QuintetError):
    """The answer did not come in time."""

    status, kind, code, tgi_type = 504, "timeout_error", "deadline_exceeded", "timeout"
    should_retry = True


class InsufficientStorage(QuintetError):
    """The disk is too full for this."""

    status, kind, code, tgi_type = 507, "server_error", "insufficient_storage", "not_ready"


def all_errors() -> list[type[QuintetError]]:
    """Every class of the tree, parents first; for tests that prove a mapping complete."""
    found: list[type[QuintetError]] = [QuintetError]
    for error in found:
        found.extend(error.__subclasses__())
    return found
