"""Pictures out of words: one or several prompts, each drawn so many times, in one answer."""

from __future__ import annotations

from typing import Final

from quintet.core.errors import InvalidRequest, QuintetError, Unsupported
from quintet.core.requests import ImageRequest
from quintet.dialects.base import Call, Incoming, Reply
from quintet.dialects.errors import error_reply, rename_fields
from quintet.dialects.krutrim.answers import FilesRenderer
from quintet.dialects.krutrim.wire import DiffusionBody
from quintet.dialects.validation import check

_NAMES: Final = {
    "model": "modelName",
    "prompts": "prompt",
    "second_prompts": "prompt2",
    "negative_prompts": "negativePrompt",
    "second_negative_prompts": "negativePrompt2",
    "width": "imageWidth",
    "height": "imageHeight",
    "steps": "numInferenceSteps",
    "guidance": "guidanceScale",
    "images_per_prompt": "numOutputImages",
}


def refuse_diffusion(error: QuintetError) -> Reply:
    """An error in OpenAI's words, with the names that the fields have on the wire."""
    return error_reply(rename_fields(error, _NAMES), "openai")


def parse_diffusion(incoming: Incoming) -> Call:
    """POST /v1/images/generations/diffusion."""
    body = check(DiffusionBody, incoming.body)
    if body.outputImgType == "latent":
        raise Unsupported(
            "`outputImgType` must be pil: the answer holds pictures. Change it.", param="outputImgType"
        )
    prompts = (body.prompt,) if isinstance(body.prompt, str) else tuple(body.prompt)
    request = ImageRequest(
        model=body.modelName,
        prompts=prompts,
        second_prompts=_for_each(body.prompt2, len(prompts), "prompt2"),
        negative_prompts=_for_each(body.negativePrompt, len(prompts), "negativePrompt"),
        second_negative_prompts=_for_each(body.negativePrompt2, len(prompts), "negativePrompt2"),
        width=body.imageWidth,
        height=body.imageHeight,
        steps=body.numInferenceSteps,
        guidance=None if body.guidanceScale is None else float(body.guidanceScale),
        seed=body.seed,
        images_per_prompt=body.numOutputImages or 1,
        with_metadata=incoming.with_metadata,
    )
    return Call(requests=(request,), renderer=FilesRenderer(with_count=True))


def _for_each(given: str | list[str] | None, prompts: int, field: str) -> tuple[str, ...]:
    """A text for every prompt: the same for all, or one each; none if nothing is in them."""
    texts = [given] * prompts if given is None or isinstance(given, str) else given
    if len(texts) != prompts:
        raise InvalidRequest(
            f"`{field}` must be one text, or a list with one for each of the {prompts} prompts. "
            f"It has {len(texts)}.",
            param=field,
        )
    return tuple(text or "" for text in texts) if any(texts) else ()
