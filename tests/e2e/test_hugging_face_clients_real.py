"""huggingface_hub (2.4 and 0.36) and text-generation (0.7), answered by the real engine over the tiny model."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.clients import run_script
from tests.support.server import RunningServer

PROMPT = "what is the red circle"
HUB = """
from huggingface_hub import InferenceClient
from huggingface_hub.errors import ValidationError
client = InferenceClient(url + "/generate")
asked = dict(max_new_tokens=16)
whole = client.text_generation(prompt, details=True, decoder_input_details=True, **asked)
events = list(client.text_generation(prompt, stream=True, details=True, **asked))
try:
    error = client.text_generation("one " * 600, **asked)
except ValidationError:
    error = "ValidationError"
"""
TGI = """
from text_generation import Client
from text_generation.errors import ValidationError
client = Client(url)
whole = client.generate(prompt, max_new_tokens=16, decoder_input_details=True)
events = list(client.generate_stream(prompt, max_new_tokens=16))
try:
    error = client.generate("one " * 600).generated_text
except ValidationError:
    error = "ValidationError"
"""
RESULT = """
details, last = whole.details, events[-1]
result = dict(
    text=whole.generated_text, streamed=last.generated_text, error=error,
    ids=[token.id for token in details.tokens], streamed_ids=[event.token.id for event in events],
    logprobs=[token.logprob for token in details.tokens + details.prefill[1:]],
    counts=[details.generated_tokens, last.details.generated_tokens],
    reasons=[details.finish_reason, last.details.finish_reason],
)
"""


@pytest.mark.parametrize(("environment", "script"), [("hub", HUB), ("tgi", HUB), ("tgi", TGI)])
def test_whole_stream_details_and_error(server: RunningServer, environment: str, script: str) -> None:
    body = {"inputs": PROMPT, "parameters": {"max_new_tokens": 16, "details": True}}
    expected: Any = server.ask("POST", "/generate", body).json
    got = run_script(environment, script + RESULT, url=server.url, prompt=PROMPT)
    assert got["text"] == got["streamed"] == expected["generated_text"]
    ids = [token["id"] for token in expected["details"]["tokens"]]
    assert got["ids"] == got["streamed_ids"] == ids
    assert got["counts"] == [len(ids)] * 2
    assert got["reasons"] == [expected["details"]["finish_reason"]] * 2
    assert all(logprob < 0 for logprob in got["logprobs"])
    assert got["error"] == "ValidationError"
