"""Every architecture that can be converted and served says what transformers' own class says on the same weights.

In float32, in ragged batches whose prompts are read in chunks, far beyond the sliding window where there is one.
"""

from __future__ import annotations

import copy
import random
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import torch

from quintet.core.events import Finished, Token
from quintet.core.models import Model
from quintet.core.requests import Detail, Limits, Sampling, TextRequest
from quintet.engines.text.engine import open_engine
from tests.support.tiny import ARCHITECTURES, SLIDING_WINDOW, make_model

LENGTHS = (1, 33, 90, 127)
NEW_TOKENS = 16
MAX_BATCH_TOKENS = 40
"""Less than a prompt, so that prompts are read in chunks beside the steps of others."""
LONGROPE, TRAINED = "phi3 longrope", 64
WINDOWED = ("phi3", "mistral", "gemma2", "gemma3_text")


@dataclass
class Architecture:
    """One tiny model: transformers' own, and the directory of its IR."""

    kind: str
    reference: Any
    directory: str


@pytest.fixture(scope="module", params=list(ARCHITECTURES))
def architecture(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Architecture]:
    root = tmp_path_factory.mktemp(request.param)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # The exporter's own deprecations are not ours to fail on.
        yield Architecture(request.param, make_model(request.param, root), str(root / "ir"))


def prompts() -> list[tuple[int, ...]]:
    source = random.Random(4)
    return [tuple(source.randrange(3, 250) for _ in range(length)) for length in LENGTHS]


def answers(directory: str, context_length: int = 512) -> dict[int, list[Token]]:
    """What our engine says to all prompts that fit, at once."""
    options = {"precision": "f32", "kv_precision": "f32", "max_batch_tokens": MAX_BATCH_TOKENS}
    engine = open_engine(
        Model(
            name="tiny",
            task="text",
            engine="text",
            path=directory,
            context_length=context_length,
            options=options,
        )
    )
    said: dict[int, list[Token]] = {}
    for number, ids in enumerate(prompts()):
        if len(ids) + NEW_TOKENS > context_length:
            continue
        said[number] = []
        request = TextRequest(
            model="tiny",
            prompt_ids=ids,
            sampling=Sampling(temperature=0),
            limits=Limits(max_new_tokens=NEW_TOKENS, ignore_eos=True),
            detail=Detail(logprobs=True),
        )
        engine.submit(number, engine.prepare(request))
    while engine.busy():
        for number, event in engine.step():
            assert not isinstance(event, Exception), event
            if isinstance(event, Token):
                said[number].append(event)
            elif isinstance(event, Finished):
                assert event.usage.completion_tokens == NEW_TOKENS
    engine.close()
    return said


def generate(model: Any, ids: tuple[int, ...]) -> list[int]:
    """What transformers' own loop says."""
    with torch.inference_mode():
        whole = model.generate(
            torch.tensor([ids]),
            max_new_tokens=NEW_TOKENS,
            min_new_tokens=NEW_TOKENS,
            do_sample=False,
            eos_token_id=None,
        )
    return whole[0, len(ids) :].tolist()


def assert_equal(reference: Any, ids: tuple[int, ...], tokens: list[Token]) -> None:
    """The same tokens as transformers', with the same log-probabilities."""
    answer = [token.id for token in tokens]
    assert answer == generate(reference, ids)
    # Gemma 2: a soft cap on the logits doesn't change which is largest, so the numbers are compared too.
    with torch.inference_mode():
        logits = reference(torch.tensor([[*ids, *answer]])).logits[0, len(ids) - 1 : -1]
    expected = logits.log_softmax(-1)[range(NEW_TOKENS), answer].tolist()
    assert [token.logprob for token in tokens] == pytest.approx(expected, abs=2e-3)


def test_answers_are_transformers(architecture: Architecture) -> None:
    said = answers(architecture.directory)
    for ids, tokens in zip(prompts(), said.values(), strict=True):
        # In a long context longrope is the long one for short texts too; transformers looks at each text.
        if architecture.kind != LONGROPE or len(ids) > TRAINED:
            assert_equal(architecture.reference, ids, tokens)
    different = {token.id for tokens in said.values() for token in tokens}
    assert len(different) > NEW_TOKENS, "a model that says little proves little"


def test_longrope_in_a_short_context(architecture: Architecture) -> None:
    """Within the trained context the short frequencies are taken; the long ones would say something else."""
    if architecture.kind != LONGROPE:
        return
    short, long = answers(architecture.directory, TRAINED), answers(architecture.directory)
    assert list(short) == [0, 1]
    for number, tokens in short.items():
        assert_equal(architecture.reference, prompts()[number], tokens)
        assert [token.id for token in tokens] != [token.id for token in long[number]]


def test_the_window_is_felt(architecture: Architecture) -> None:
    """Without its sliding window the same model says something else: equality above is no accident."""
    config = copy.deepcopy(architecture.reference.config)
    assert (getattr(config, "sliding_window", None) == SLIDING_WINDOW) == (architecture.kind in WINDOWED)
    if architecture.kind not in WINDOWED:
        return
    config.sliding_window = 512
    wide = type(architecture.reference)(config).eval()
    wide.load_state_dict(architecture.reference.state_dict())
    assert generate(wide, prompts()[-1]) != generate(architecture.reference, prompts()[-1])
