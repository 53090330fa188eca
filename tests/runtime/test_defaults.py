"""A model's defaults apply where the caller said nothing, and nowhere else."""

import json
from dataclasses import replace

import pytest

from quintet.core.content import Image
from quintet.core.errors import ModelNotFound
from quintet.core.models import Model, ModelState, Source
from quintet.core.requests import AnimationRequest, ImageRequest, Sampling, TextRequest, TokenizeRequest
from quintet.dialects import openai
from quintet.dialects.base import Incoming
from quintet.runtime.defaults import RULES, with_defaults
from tests.runtime.house import ask, echo, open_house

pytestmark = pytest.mark.anyio

QWEN = {"temperature": 0.6, "top_p": 0.95, "top_k": 20}


def model(task="text", **defaults):
    return Model(name="m", task=task, engine="echo", defaults=defaults)


def said(**fields):
    """The request that an OpenAI client's body becomes."""
    body = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], **fields}
    parse = next(each.parse for each in openai.OPERATIONS if each.path == "/v1/chat/completions")
    return parse(Incoming(body=json.loads(json.dumps(body)))).requests[0]


def test_silence_takes_the_models_word():
    assert with_defaults(model(**QWEN), said()).sampling == Sampling(temperature=0.6, top_p=0.95, top_k=20)
    assert with_defaults(model(), said()).sampling == Sampling()


def test_what_the_caller_said_stays():
    """Even when it is the same as the neutral value, or null stands for silence."""
    request = said(temperature=1.0, top_p=1, top_k=None, seed=5)
    settled = with_defaults(model(**QWEN, repetition_penalty=1.05), request).sampling
    assert settled == Sampling(temperature=1.0, top_p=1.0, top_k=20, repetition_penalty=1.05, seed=5)
    assert settled.given is None, "nothing is left for the engine to decide"
    assert isinstance(settled.top_k, int)


def test_dialects_with_defaults_of_their_own_keep_them():
    request = TextRequest(model="m", prompt=("Hi",), sampling=Sampling(temperature=0.0))
    assert with_defaults(model(**QWEN), request) == request


def test_whole_numbers_become_what_the_field_is():
    settled = with_defaults(model(temperature=1), said()).sampling
    assert isinstance(settled.temperature, float)


def test_pictures_and_animations():
    flux = model("image", steps=4, guidance=0, width=1024, height=512, sampler="Euler")
    request = ImageRequest(model="m", prompts=("a cat",), steps=2)
    assert with_defaults(flux, request) == replace(
        request, guidance=0.0, width=1024, height=512, sampler="Euler"
    )
    moving = AnimationRequest(model="m", prompt="a cat", frames=8)
    assert with_defaults(model("animation", frames=16, steps=25), moving) == replace(moving, steps=25)
    tokens = TokenizeRequest(model="m", prompt="a cat")
    assert with_defaults(flux, tokens) is tokens


def test_every_rule_is_a_field_of_its_request():
    for task, request in (
        ("text", Sampling()),
        ("image", ImageRequest(model="m", prompts=("x",))),
        ("animation", AnimationRequest(model="m", prompt="x")),
    ):
        assert all(hasattr(request, name) for name in RULES[task])


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("temperature", (0, 0.7, 2), (-0.1, 2.1, "hot", True)),
        ("top_k", (0, 40), (-1, 1.5)),
        ("top_p", (1, 0.1), (0,)),
    ],
)
def test_ranges(name, good, bad):
    rule = RULES["text"][name]
    assert not any(rule.broken_by(value) for value in good)
    assert all(rule.broken_by(value) for value in bad)


async def test_a_service_applies_them():
    """The echo engine reports a seed unless the answer is greedy."""
    greedy = replace(echo(), defaults={"temperature": 0.0})
    open_ended = replace(ask("hello"), sampling=Sampling(given=frozenset()))
    async with open_house(greedy) as house:
        assert (await house.answer(open_ended)).finished.seed is None
        asked = replace(open_ended, sampling=Sampling(temperature=0.7, given=frozenset({"temperature"})))
        assert (await house.answer(asked)).finished.seed is not None
        assert (await house.answer(ask("hello"))).finished.seed is not None, (
            "a dialect with defaults of its own"
        )


async def test_a_model_that_was_never_pulled():
    source = Source(repo="owner/name", format="openvino")
    far = Model(name="far", task="text", engine="text", aliases=("f",), sources=(source,))
    eyes = replace(far, name="eyes", task="vision", aliases=())
    async with open_house(echo(), far, eyes) as house:
        assert house.service.status(far).state is ModelState.ABSENT
        ending = await house.ending(ask("hello", model="f"))
        assert isinstance(ending, ModelNotFound)
        assert (ending.status, ending.code, ending.param) == (404, "model_not_installed", "model")
        assert ending.message == "The model far is known but not installed. Run: quintet pull far"
        with pytest.raises(ModelNotFound, match="quintet pull far"):
            await house.service.ensure_ready(far)
        ending = await house.ending(ImageRequest(model="echo", prompts=("red",)))
        assert "no model here is for image" in ending.message
        house.service.can_run = lambda model: model is not far
        ending = await house.ending(ask("hello", model="f"))
        assert (ending.status, ending.code) == (404, "model_not_installed")
        assert "can't run it" in ending.message
        assert "quintet pull" not in ending.message
        house.service.can_run = lambda model: False
        see = replace(ask(""), prompt=("what is", Image(data=b"any")))
        assert "runs none for vision" in (await house.ending(see)).message
        assert house.backend.worker_pid(far) is None
