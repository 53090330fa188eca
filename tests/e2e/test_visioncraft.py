"""VisionCraft's drawing routes on a server that needs keys: lists, keys in bodies, formats, errors."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from quintet.core.samplers import SAMPLERS
from tests.support.painters import LISTS, WRONG, PaintersHouse, draw, open_painters_house
from tests.support.server import Answer

Ask = Callable[..., Answer]


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PaintersHouse]:
    with open_painters_house(tmp_path_factory.mktemp("home")) as opened:
        yield opened


@pytest.fixture
def ask(house: PaintersHouse) -> Ask:
    """Asks with the key in the body, where VisionCraft's clients have it."""

    def post(path: str, token: object = None, **body: Any) -> Answer:
        return house.server.ask("POST", path, {"token": token or house.key, "prompt": "a cat", **body})

    return post


def test_lists_are_open_to_everybody(house: PaintersHouse) -> None:
    for name, expected in LISTS.items():
        for path in {f"/{name}", f"/sd/{name}"} - {"/sd/models-llm", "/sd/models-upscale"}:
            answer = house.server.ask("GET", path)
            assert answer.headers["content-type"] == "application/json"
            assert set(expected) <= set(answer.json), path


def test_every_listed_name_works(ask: Ask) -> None:
    for name in SAMPLERS:
        assert ask("/sd", sampler=name, width=64, height=64).status == 200, name
    for name in LISTS["models"]:
        assert ask("/sd", model=name, width=64, height=64).status == 200, name
    assert ask("/sd", loras=dict.fromkeys(LISTS["loras"], 0.5), width=64, height=64).status == 200
    assert ask("/sd", model="deliberate-two", width=64, height=64).status == 200


def test_keys_in_bodies(house: PaintersHouse, ask: Ask) -> None:
    size = {"width": 64, "height": 64}
    for path, wrong in (("/sd", 401), ("/text2gif", 401), ("/generate", 403), ("/generate-xl", 403)):
        fields = {} if path == "/text2gif" else size
        assert ask(path, **fields).status == 200
        assert ask(path, token=WRONG, **fields).status == wrong
        assert ask(path, token=[house.key], **fields).status == 400
        assert ask(path, token="x" * 2**20, **fields).status == 413
        bare = house.server.ask("POST", path, {"prompt": "a cat", "model": "painter"})
        assert bare.status == wrong
        header = {"authorization": f"Bearer {house.key}"}
        body = fields | ({"sampler": "Euler"} if path == "/generate" else {})
        assert house.server.ask("POST", path, {"prompt": "a cat", **body}, header).status == 200
    log = "\n".join(house.server.log)
    assert house.key not in log
    assert WRONG not in log
    assert ask("/generate", token=house.key, inputs="x").status == 401, "TGI has no keys in bodies"


def test_keys_behind_pictures(house: PaintersHouse) -> None:
    """Larger than what is parsed for strangers elsewhere; their client has no header to put the key into."""
    encoded = base64.b64encode(draw((400, 320))).decode()
    body = {"image": encoded, "resize": 2}

    def post(**more: Any) -> Answer:
        return house.server.ask("POST", "/upscale", body | more)

    assert post(token=house.key).status == 200
    assert post(token=WRONG).status == 403
    assert post().status == 403
    nested = post(model={"token": house.key})
    assert (nested.status, nested.json["error"]["type"]) == (403, "authentication_error"), (
        "not where keys belong"
    )
    twice = b'{"token": "%s", "token": "%s"}' % (house.key.encode(), WRONG.encode())
    assert house.server.ask("POST", "/upscale", twice + b" " * 70_000).status == 400
    too_large = house.server.ask("POST", "/upscale", b" " * (8 * 2**20 + 1))
    assert too_large.status == 413
    assert "8192 KiB" in too_large.json["error"]["message"]
    header = {"authorization": f"Bearer {house.key}"}
    padded = json.dumps(body).encode() + b" " * (9 * 2**20)
    assert house.server.ask("POST", "/upscale", padded, header).status == 200


def test_other_formats_of_animations(house: PaintersHouse) -> None:
    body = {"token": house.key, "prompt": "a cat"}
    answer = house.server.ask("POST", "/text2gif", body, {"accept": "image/gif"})
    assert answer.headers["content-type"] == "image/gif"
    answer = house.server.ask("POST", "/text2gif", body, {"accept": "video/mp4"})
    assert (answer.status, answer.json["error"]["param"]) == (400, "format"), "echo writes GIF alone"


@pytest.mark.parametrize(
    ("path", "body", "status", "words"),
    [
        ("/sd", {"model": "painte"}, 404, '"painter"'),
        ("/sd", {"model": "echo"}, 400, "image"),
        ("/sd", {"steps": 36}, 400, "35"),
        ("/sd", {"width": 1025}, 400, "1024"),
        ("/sd", {"sampler": "Oiler"}, 400, "Euler"),
        ("/upscale", {"image": "aGVsbG8=", "prompt": "x"}, 400, "prompt"),
    ],
)
def test_errors(ask: Ask, path: str, body: dict[str, Any], status: int, words: str) -> None:
    answer = ask(path, **body)
    assert answer.status == status, answer.body
    assert words in answer.json["error"]["message"]
    assert answer.json["detail"] == answer.json["error"]["message"]
