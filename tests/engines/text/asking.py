"""How the tests of the text engine ask."""

from __future__ import annotations

import random
from typing import Any

from quintet.core.events import Choice
from quintet.core.models import Model
from quintet.core.requests import Limits, Sampling, TextRequest
from tests.conftest import TinyModel
from tests.engines.text.conftest import Driver

FLOAT = {"precision": "f32", "kv_precision": "f32"}


def model_of(tiny: TinyModel, **more: Any) -> Model:
    options = {**FLOAT, "kv_cache_mb": 8, **more.pop("options", {})}
    return Model(
        name="tiny",
        task="text",
        engine="text",
        path=str(tiny.directory),
        options=options,
        context_length=512,
        **more,
    )


def ids(count: int, seed: int = 1) -> tuple[int, ...]:
    source = random.Random(seed)
    return tuple(source.randrange(3, 250) for _ in range(count))


def ask(prompt: str | tuple[int, ...] = (40,), count: int | None = 8, **more: Any) -> TextRequest:
    limits = more.pop("limits", {})
    sampling = more.pop("sampling", Sampling(temperature=0))
    given = {"prompt": (prompt,)} if isinstance(prompt, str) else {"prompt_ids": prompt}
    return TextRequest(
        model="tiny",
        limits=Limits(max_new_tokens=count, **{"ignore_eos": True, **limits}),
        sampling=sampling,
        **given,
        **more,
    )


def forced(driver: Driver, text: str) -> Sampling:
    """Makes the model say one token for ever."""
    (token,) = driver.engine._vocabulary.encode(text, add_special_tokens=False)
    return Sampling(temperature=0, logit_bias=((token, 100.0),))


def only(driver: Driver, request: TextRequest) -> Choice:
    (choice,) = driver.run(request)[0].choices
    return choice


def ids_of(choice: Choice) -> list[int]:
    return [token.id for token in choice.tokens]
