"""What idefics bodies mean, in both forms, and which of them are refused (B-49)."""

from __future__ import annotations

from typing import Any

import pytest

from quintet.core.content import Image, Message
from quintet.core.errors import InvalidRequest
from quintet.core.requests import Limits, Sampling, TextRequest
from tests.dialects.wire import ask

PATH = "/v1/multimodal/generations/idefics"
ENCODED = "aGVsbG8="
PICTURE = Image(data=b"hello")
OTHER_ENCODED = "d29ybGQ="
OTHER = Image(data=b"world")


def turn(text: str, role: str = "User", pictures: int = 0) -> dict[str, Any]:
    return {"role": role, "content": [{"type": "image"}] * pictures + [{"type": "text", "text": text}]}


def idefics(prompts: Any, images: Any, **more: Any) -> tuple[TextRequest, ...]:
    requests = ask(PATH, {"modelName": "idefics", "prompts": prompts, "images": images, **more}).requests
    found = tuple(request for request in requests if isinstance(request, TextRequest))
    assert len(found) == len(requests)
    return found


def parts(prompts: Any, images: Any) -> list[tuple[Any, ...]]:
    """The one user message of every conversation."""
    found = []
    for request in idefics(prompts, images):
        (message,) = request.messages
        assert message.role == "user"
        found.append(message.parts)
    return found


def test_a_whole_request() -> None:
    assert idefics([turn("What is the city??", pictures=1)], [[ENCODED]]) == (
        TextRequest(
            model="idefics",
            messages=(Message("user", (PICTURE, "What is the city??")),),
            sampling=Sampling(temperature=0.0),
            limits=Limits(max_new_tokens=50),
        ),
    )
    for given, most in ((8, 8), (1024, 1024), (None, 50)):
        (request,) = idefics(["<image>x"], [[ENCODED]], maxTokens=given)
        assert request.limits.max_new_tokens == most


@pytest.mark.parametrize(
    ("prompts", "images", "expected"),
    [
        (["<image>  ", "what city??"], [[ENCODED], []], [(PICTURE, "what city??")]),
        (
            ["<image>  ", "what city??", "<image>  ", "what bridge??"],
            [[ENCODED], [], [OTHER_ENCODED], []],
            [(PICTURE, "what city??"), (OTHER, "what bridge??")],
        ),
        (["<image> a <image>b"], [[ENCODED, OTHER_ENCODED]], [(PICTURE, " a ", OTHER, "b")]),
        (
            ["<image>", "<image><image>", "same?"],
            [[ENCODED], [OTHER_ENCODED] * 2, []],
            [(PICTURE, OTHER, OTHER, "same?")],
        ),
        (["one", "<image>two"], [[], [ENCODED]], [("one",), (PICTURE, "two")]),
        (["one", "<image>"], [[], [ENCODED]], [("one",), (PICTURE,)]),
        (["<image>"], [["data:image/png;base64," + ENCODED]], [(PICTURE,)]),
        (
            [turn("a", pictures=1), turn("b", "user", 1)],
            [[ENCODED], [OTHER_ENCODED]],
            [(PICTURE, "a"), (OTHER, "b")],
        ),
    ],
)
def test_what_makes_one_text(prompts: Any, images: Any, expected: Any) -> None:
    assert parts(prompts, images) == expected


def test_turns_that_belong_together() -> None:
    prompts = [turn("s", "System"), turn("a", pictures=1), turn("yes", "Assistant"), turn("b"), turn("c")]
    first, second = idefics(prompts, [[], [ENCODED], [], [], []])
    assert [message.role for message in first.messages] == ["system", "user", "assistant", "user"]
    assert first.messages[1].parts == (PICTURE, "a")
    assert [message.parts for message in second.messages] == [("c",)]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"images": []}, "images"),
        ({"images": [[]]}, "images"),
        ({"images": [[ENCODED], []]}, "images"),
        ({"images": [[ENCODED, ENCODED]]}, "images[0]"),
        ({"images": [[ENCODED] * 9]}, "images[0]"),
        ({"prompts": ["<image>"] * 9, "images": [[ENCODED]] * 9}, "images"),
        ({"prompts": ["<image>a"] * 5, "images": [[ENCODED]] * 5}, "prompts"),
        ({"images": [["aGVs!!bG8="]]}, "images[0][0]"),
        ({"images": [["https://example.org/a.png"]]}, "images[0][0]"),
        ({"images": [[""]]}, "images[0][0]"),
        ({"images": ENCODED}, "images"),
        ({"images": [ENCODED]}, "images[0]"),
        ({"images": [[None]]}, "images[0][0]"),
        ({"images": None}, "images"),
        ({"prompts": []}, "prompts"),
        ({"prompts": "<image>"}, "prompts"),
        ({"prompts": ["what?"]}, "images[0]"),
        ({"prompts": ["<image><image>"]}, "images[0]"),
        ({"prompts": ["<image>", "what?"], "images": [[], [ENCODED]]}, "images[0]"),
        ({"prompts": ["<image>", turn("x")], "images": [[ENCODED], []]}, "prompts[1]"),
        ({"prompts": [turn("x"), "<image>"], "images": [[], [ENCODED]]}, "prompts[1]"),
        ({"prompts": [turn("x")]}, "images[0]"),
        ({"prompts": [turn("x", pictures=2)]}, "images[0]"),
        ({"prompts": [turn("x", "Robot", 1)]}, "prompts[0].role"),
        ({"prompts": [turn("x", "System", 1)]}, "prompts[0]"),
        (
            {"prompts": [turn("x", pictures=1), turn("y", "Assistant")], "images": [[ENCODED], []]},
            "prompts[1]",
        ),
        ({"prompts": [turn("x", "System"), turn("y", "System")], "images": [[ENCODED], []]}, "images[0]"),
        (
            {"prompts": [{"role": "User", "content": [{"type": "image"}, {"type": "text"}]}]},
            "prompts[0].content[1].text",
        ),
        (
            {"prompts": [{"role": "User", "content": [{"type": "image"}, {"type": "video"}]}]},
            "prompts[0].content[1].type",
        ),
        ({"prompts": [{"role": "User", "content": []}]}, "prompts[0].content"),
        ({"maxTokens": 7}, "maxTokens"),
        ({"maxTokens": 1025}, "maxTokens"),
        ({"maxTokens": 8.5}, "maxTokens"),
        ({"modelName": ""}, "modelName"),
        ({"modelName": None}, "modelName"),
        ({"max_tokens": 50}, "max_tokens"),
    ],
)
def test_what_is_refused(body: dict[str, Any], param: str) -> None:
    good = {"modelName": "idefics", "prompts": ["<image>what?"], "images": [[ENCODED]]}
    ask(PATH, good)
    with pytest.raises(InvalidRequest) as caught:
        ask(PATH, good | body)
    assert caught.value.param == param
