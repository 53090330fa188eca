"""An animation out of words, as the pictures that it is made of: the SDK puts them together."""

from __future__ import annotations

from typing import Final

from quintet.core.errors import QuintetError
from quintet.core.requests import AnimationRequest
from quintet.dialects.base import Call, Incoming, Reply
from quintet.dialects.errors import error_reply, rename_fields
from quintet.dialects.krutrim.answers import FilesRenderer
from quintet.dialects.krutrim.wire import VideoBody
from quintet.dialects.validation import check

_NAMES: Final = {
    "model": "modelName",
    "frames": "numFrames",
    "steps": "numInferenceSteps",
    "guidance": "guidanceScale",
}


def refuse_video(error: QuintetError) -> Reply:
    """An error in OpenAI's words, with the names that the fields have on the wire."""
    return error_reply(rename_fields(error, _NAMES), "openai")


def parse_video(incoming: Incoming) -> Call:
    """POST /v1/videos/generations/text2video."""
    body = check(VideoBody, incoming.body)
    request = AnimationRequest(
        model=body.modelName,
        prompt=body.prompt if isinstance(body.prompt, str) else body.prompt[0],
        frames=body.numFrames,
        steps=body.numInferenceSteps,
        guidance=None if body.guidanceScale is None else float(body.guidanceScale),
        format="frames",
        with_metadata=incoming.with_metadata,
    )
    return Call(requests=(request,), renderer=FilesRenderer(with_count=False))
