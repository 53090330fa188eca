"""Text LoRA through both dialects: TGI's `adapter_id` and OpenAI's `model: base:adapter`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import openai
import pytest

from tests.conftest import TinyModel
from tests.e2e.conftest import Start
from tests.support.lora import greedy, write_adapter
from tests.support.server import RunningServer

PROMPT = "what is the red circle"
COUNT = 8


@pytest.fixture
def merged(tmp_path: Path, tiny: TinyModel) -> Any:
    return write_adapter(
        tmp_path / "home/adapters/tiny/pirate", tiny.reference, 8, ("q_proj", "v_proj", "down_proj")
    )


def prompt_ids(server: RunningServer) -> tuple[int, ...]:
    return tuple(token["id"] for token in server.ask("POST", "/tokenize", {"inputs": PROMPT}).json)


def generated(server: RunningServer, **parameters: Any) -> list[int]:
    asked = {"max_new_tokens": COUNT, "details": True, **parameters}
    answer = server.ask("POST", "/generate", {"inputs": PROMPT, "parameters": asked})
    assert answer.status == 200, answer.body
    return [token["id"] for token in answer.json["details"]["tokens"]]


def test_both_dialects_find_an_adapter_by_name(start: Start, tiny: TinyModel, merged: Any) -> None:
    with (
        start() as server,
        openai.OpenAI(base_url=f"{server.url}/v1", api_key="local", max_retries=0) as client,
    ):
        ids = prompt_ids(server)
        plain, adapted = greedy(tiny.reference, ids, COUNT), greedy(merged, ids, COUNT)
        assert plain != adapted
        assert generated(server) == plain
        assert generated(server, adapter_id="pirate") == adapted

        asked = {"prompt": list(ids), "max_tokens": COUNT, "temperature": 0}
        text = client.completions.create(model="tiny:pirate", **asked)
        assert text.model == "tiny:pirate"
        by_tgi = server.ask(
            "POST",
            "/generate",
            {"inputs": PROMPT, "parameters": {"max_new_tokens": COUNT, "adapter_id": "pirate"}},
        )
        assert text.choices[0].text == by_tgi.json["generated_text"]

        for name, says in (("tiny:nobody", "pirate"), ("nobody:pirate", "no such model")):
            with pytest.raises(openai.NotFoundError, match=says):
                client.completions.create(model=name, **asked)
        refused = server.ask("POST", "/generate", {"inputs": PROMPT, "parameters": {"adapter_id": "nobody"}})
        assert refused.status == 404
        assert "pirate" in refused.json["error"]["message"]
