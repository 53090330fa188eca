"""The routes of Krutrim's SDK that are its own; its chat route is OpenAI's."""

from quintet.core.errors import QuintetError
from quintet.dialects.base import Operation, Reply
from quintet.dialects.errors import error_reply, rename_fields
from quintet.dialects.krutrim.diffusion import parse_diffusion, refuse_diffusion
from quintet.dialects.krutrim.idefics import parse_idefics
from quintet.dialects.krutrim.text2video import parse_video, refuse_video
from quintet.dialects.krutrim.wire import DiffusionBody, IdeficsBody, VideoBody

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
    Operation(
        path="/v1/images/generations/diffusion",
        parse=parse_diffusion,
        refuse=refuse_diffusion,
        schema=DiffusionBody,
        summary="Draw pictures (Krutrim clients)",
    ),
    Operation(
        path="/v1/videos/generations/text2video",
        parse=parse_video,
        refuse=refuse_video,
        schema=VideoBody,
        summary="Draw the frames of an animation (Krutrim clients)",
    ),
)
