"""The generating routes of AFAI's model manager; its routes that launch models and keep chats are not served."""

from quintet.core.errors import QuintetError
from quintet.dialects.base import Operation, Reply
from quintet.dialects.errors import error_reply, rename_fields
from quintet.dialects.manager.generate import parse_from_image_text, parse_from_text
from quintet.dialects.manager.wire import FromImageTextBody, FromTextBody

__all__ = ["OPERATIONS", "refuse"]

MAX_PICTURE_BODY_BYTES = 32 * 1024 * 1024
_NAMES = {"model": "model_name", "messages": "prompt"}


def refuse(error: QuintetError) -> Reply:
    """An error as a FastAPI server words it (`detail`), with what the other dialects' clients read beside it."""
    return error_reply(rename_fields(error, _NAMES), "native")


OPERATIONS: tuple[Operation, ...] = (
    Operation(
        path="/generate/fromtext",
        parse=parse_from_text,
        refuse=refuse,
        schema=FromTextBody,
        summary="Answer a prompt with a stream of plain text (AFAI clients)",
        accepts_form=True,
        query=("model_name",),
    ),
    Operation(
        path="/generate/fromimagetext",
        parse=parse_from_image_text,
        refuse=refuse,
        schema=FromImageTextBody,
        summary="The same with pictures, which may be uploaded as files of a form",
        max_body_bytes=MAX_PICTURE_BODY_BYTES,
        accepts_form=True,
        query=("model_name",),
    ),
)
