"""The rows about drawing of the corpus of bad bodies (reliability 6.4, B-53 … B-56): every range on every way in."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterator
from typing import Any

from tests.e2e.corpus import SECRET, Case
from tests.media.pictures import png

GENERATIONS, EDITS = "/v1/images/generations", "/v1/images/edits"
DIFFUSION, VIDEO = "/v1/images/generations/diffusion", "/v1/videos/generations/text2video"

BAD_SIDES = (0, 7, 63, 1025, 513, -8, 10**9)
BAD_STEPS = (0, -1, 1.5, 10**9, "ten")
BAD_GUIDANCE = (-1, 1000, "seven", math.nan, math.inf)
BAD_COUNTS = (0, 11, -1, 10**9)
BAD_SEEDS = (2**64, -5, 0.5, SECRET)
BAD_PROMPTS = ("", SECRET * 10_000, [SECRET] * 1000, None, 7, {})
BAD_NAMES = ("../" + SECRET, "http://127.0.0.1/" + SECRET, "__class__", "a" * 300)


def openai(**changes: Any) -> dict[str, Any]:
    return {"model": "echo-image", "prompt": "a cat", **changes}


def edit(**changes: Any) -> dict[str, Any]:
    return openai(image="data:image/png;base64," + base64.b64encode(png()).decode(), **changes)


def krutrim(**changes: Any) -> dict[str, Any]:
    return {"modelName": "echo-image", "prompt": "a cat", "imageHeight": 64, "imageWidth": 64, **changes}


def video(**changes: Any) -> dict[str, Any]:
    return {"modelName": "echo-animation", "prompt": ["a wave"], **changes}


def bad_drawings() -> Iterator[Case]:
    """Everything out of its range, on the routes of OpenAI and Krutrim."""
    for side in BAD_SIDES:
        yield Case("B-53", GENERATIONS, openai(size=f"{side}x64"))
        yield Case("B-53", EDITS, edit(size=f"64x{side}"))
        yield Case("B-53", DIFFUSION, krutrim(imageHeight=side))
        yield Case("B-53", DIFFUSION, krutrim(imageWidth=side))
    for steps in BAD_STEPS:
        yield Case("B-54", GENERATIONS, openai(steps=steps))
        yield Case("B-54", EDITS, edit(num_inference_steps=steps))
        yield Case("B-54", DIFFUSION, krutrim(numInferenceSteps=steps))
        yield Case("B-54", VIDEO, video(numInferenceSteps=steps))
    for guidance in BAD_GUIDANCE:
        yield Case("B-54", GENERATIONS, openai(guidance=guidance))
        yield Case("B-54", DIFFUSION, krutrim(guidanceScale=guidance))
        yield Case("B-54", VIDEO, video(guidanceScale=guidance))
    for count in BAD_COUNTS:
        yield Case("B-54", GENERATIONS, openai(n=count))
        yield Case("B-54", EDITS, edit(n=count))
        yield Case("B-54", DIFFUSION, krutrim(numOutputImages=count))
        yield Case("B-54", VIDEO, video(numFrames=count if count != 11 else 50))
    yield from _bad_names()
    yield from _bad_texts()


def _bad_names() -> Iterator[Case]:
    for name in BAD_NAMES:
        yield Case("B-55", GENERATIONS, openai(sampler=name))
        yield Case("B-55", GENERATIONS, openai(loras={name: 1.0}))
        yield Case("B-55", EDITS, edit(loras={name: 1.0}))
    for loras in ({f"l{n}": 1 for n in range(6)}, {"l": math.nan}, {"l": SECRET}, [SECRET], SECRET):
        yield Case("B-55", GENERATIONS, openai(loras=loras))


def _bad_texts() -> Iterator[Case]:
    for prompt in BAD_PROMPTS:
        yield Case("B-56", GENERATIONS, openai(prompt=prompt))
        yield Case("B-56", EDITS, edit(prompt=prompt))
        yield Case("B-56", DIFFUSION, krutrim(prompt=prompt))
        yield Case("B-56", VIDEO, video(prompt=prompt))
    yield Case("B-56", DIFFUSION, krutrim(prompt=["a", "b"], prompt2=["c"]))
    yield Case("B-56", DIFFUSION, krutrim(prompt="a", negativePrompt=["c", "d"]))
    yield Case("B-56", GENERATIONS, openai(negative_prompt=SECRET * 10_000))
    for seed in BAD_SEEDS:
        yield Case("B-54", GENERATIONS, openai(seed=seed))
        yield Case("B-54", DIFFUSION, krutrim(seed=seed))
