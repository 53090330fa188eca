"""The routes of Krutrim's SDK that are its own; its chat route is OpenAI's."""

from quintet.core.errors import QuintetError
from quintet.dialects.base import Operation, Reply
from quintet.dialects.errors import error_reply, rename_fields
from quintet.dialects.krutrim.idefics import parse_idefics
from quintet.dialects.krutrim.wire import IdeficsBody

__all__ = ["OPERATIONS", "refuse"]

MAX_PICTURE_BODY_BYTES = 32 * 1024 * 1024
_NAMES = {
    "model": "modelName",
    "messages": "prompts",
    "max_tokens": "maxTokens",
    "max_new_tokens": "maxTokens",
}


def refuse(error: QuintetError) -> Reply:
    """An error in OpenAI's words, with the names that the SDK's fields have on the wire."""
    return error_reply(rename_fields(error, _NAMES), "openai")


OPERATIONS: tuple[Operation, ...] = (
    Operation(
        path="/v1/multimodal/generations/idefics",
        parse=parse_idefics,
        refuse=refuse,
        schema=IdeficsBody,
        summary="Answer questions about pictures (Krutrim clients)",
        max_body_bytes=MAX_PICTURE_BODY_BYTES,
    ),
)
