"""The drawing routes of VisionCraft, and the older ones that its Python client calls."""

from collections.abc import Callable

from quintet.core.errors import QuintetError
from quintet.dialects.base import Call, Incoming, Operation, Reply
from quintet.dialects.errors import error_reply, rename_fields
from quintet.dialects.validation import WireModel
from quintet.dialects.visioncraft.parse import (
    NO_REFINER,
    claims,
    parse_generate,
    parse_generate_gif,
    parse_img2img,
    parse_sd,
    parse_text2gif,
    parse_upscale,
)
from quintet.dialects.visioncraft.refusals import in_client_words
from quintet.dialects.visioncraft.views import names_reply
from quintet.dialects.visioncraft.wire import GenerateBody, GifBody, RedrawBody, SdBody, UpscaleBody

__all__ = ["NO_REFINER", "OPERATIONS", "names_reply", "refuse", "refuse_to_client"]

MAX_PICTURE_BODY_BYTES = 32 * 1024 * 1024
MAX_PICTURE_BYTES_BEFORE_AUTH = 8 * 1024 * 1024
"""Its client has the key in the body alone, behind the picture."""
_NAMES = {
    "guidance": "cfg_scale",
    "prompts": "prompt",
    "negative_prompts": "negative_prompt",
    "images_per_prompt": "image_count",
    "source": "image",
    "picture": "image",
    "scale": "resize",
}


def refuse(error: QuintetError) -> Reply:
    """An error in the house's words, with the names of VisionCraft's fields."""
    return error_reply(rename_fields(error, _NAMES), "native")


def refuse_to_client(error: QuintetError) -> Reply:
    """The same on the routes that only the Python client knows, so that it raises what its users expect."""
    return error_reply(in_client_words(rename_fields(error, _NAMES)), "native")


def _operation(
    path: str,
    parse: Callable[[Incoming], Call],
    schema: type[WireModel],
    summary: str,
    *,
    is_old: bool = False,
    holds_pictures: bool = False,
    animates: bool = False,
    claims: Callable[[object], bool] | None = None,
) -> Operation:
    return Operation(
        path=path,
        parse=parse,
        refuse=refuse_to_client if is_old else refuse,
        schema=schema,
        summary=summary,
        max_body_bytes=MAX_PICTURE_BODY_BYTES if holds_pictures else 2 * 1024 * 1024,
        token_in_body=True,
        max_bytes_before_auth=MAX_PICTURE_BYTES_BEFORE_AUTH if holds_pictures else 64 * 1024,
        reads_accept=animates,
        claims=claims,
    )


OPERATIONS: tuple[Operation, ...] = (
    _operation("/sd", parse_sd, SdBody, "Draw a picture; the answer is a PNG (VisionCraft clients)"),
    _operation(
        "/text2gif", parse_text2gif, GifBody, "Draw an animation; the answer is the file", animates=True
    ),
    _operation(
        "/generate",
        parse_generate,
        GenerateBody,
        "Draw pictures, where the body has VisionCraft's keys; the answer holds links",
        is_old=True,
        claims=claims,
    ),
    _operation(
        "/generate-xl", parse_generate, GenerateBody, "Draw pictures; the answer holds links", is_old=True
    ),
    _operation(
        "/generate-gif",
        parse_generate_gif,
        GifBody,
        "Draw an animation; the answer holds a link",
        is_old=True,
        animates=True,
    ),
    _operation(
        "/img2img",
        parse_img2img,
        RedrawBody,
        "Draw a picture anew; the answer is a PNG",
        is_old=True,
        holds_pictures=True,
    ),
    _operation(
        "/upscale",
        parse_upscale,
        UpscaleBody,
        "Enlarge a picture; the answer is a PNG",
        is_old=True,
        holds_pictures=True,
    ),
)
