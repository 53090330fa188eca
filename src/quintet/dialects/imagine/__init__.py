"""The picture routes of xpu_ray, with the path forms that proxies in front of it made."""

import copy

from quintet.core.errors import NotReady, QuintetError
from quintet.dialects.base import Operation, Reply
from quintet.dialects.errors import error_reply, rename_fields
from quintet.dialects.imagine.parse import claims, parse_generate
from quintet.dialects.imagine.views import Load, health_reply, info_reply
from quintet.dialects.imagine.wire import ImagineBody

__all__ = ["OPERATIONS", "Load", "health_reply", "info_reply", "refuse"]

_NAMES = {
    "width": "img_size",
    "height": "img_size",
    "steps": "num_inference_steps",
    "guidance": "guidance_scale",
}


def refuse(error: QuintetError) -> Reply:
    """An error in the original's words (`detail`), with what the other dialects' clients read beside it."""
    error = rename_fields(error, _NAMES)
    prefix = ""
    if isinstance(error, NotReady):
        prefix = "Model is not available. Error: "
    elif error.status == 500:
        prefix = "Error generating image: "
    error = copy.copy(error)
    error.message = prefix + error.message
    return error_reply(error, "native")


OPERATIONS: tuple[Operation, ...] = (
    Operation(
        path="/imagine/generate",
        parse=parse_generate,
        refuse=refuse,
        schema=ImagineBody,
        summary="Draw a picture; the answer is a PNG",
    ),
    Operation(
        path="/{alias}/imagine/generate",
        parse=parse_generate,
        refuse=refuse,
        schema=ImagineBody,
        summary="Draw a picture with the model of this alias",
    ),
    Operation(
        path="/generate",
        parse=parse_generate,
        refuse=refuse,
        schema=ImagineBody,
        summary="Draw a picture, where the body has a `prompt` and nothing of VisionCraft's",
        claims=claims,
    ),
)
