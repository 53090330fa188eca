"""Text LoRA: every request its own adapter in one batch, and each answer the one of the merged weights."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quintet.core.errors import InvalidRequest, ModelNotFound, Overloaded
from quintet.engines.text import adapters as room
from quintet.engines.text.engine import open_engine
from tests.conftest import TinyModel
from tests.engines.text.asking import ask, ids, ids_of, model_of
from tests.engines.text.conftest import Driver
from tests.support.lora import greedy, write_adapter, write_safetensors


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("adapters")


@pytest.fixture(scope="module")
def merged(tiny: TinyModel, folder: Path) -> dict[str, Any]:
    everything = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    return {
        "": tiny.reference,
        "all": write_adapter(folder / "all", tiny.reference, 1, everything),
        "some": write_adapter(folder / "some", tiny.reference, 2, ("q_proj", "v_proj"), rank=2),
    }


@pytest.fixture(scope="module")
def driver(tiny: TinyModel, folder: Path, merged: dict[str, Any]) -> Iterator[Driver]:
    engine = open_engine(model_of(tiny, options={"adapters": str(folder)}))
    yield Driver(engine)
    engine.close()


def test_one_batch_of_different_adapters_is_each_one_merged(driver: Driver, merged: dict[str, Any]) -> None:
    prompts = [ids(20 + 13 * n, seed=n) for n in range(6)]
    names = ["", "all", "some", "all", "", "some"]
    requests = [ask(prompt, 12, adapter=name) for prompt, name in zip(prompts, names, strict=True)]
    answers = [ids_of(outcome.choices[0]) for outcome in driver.run(*requests)]
    expected = [greedy(merged[name], prompt, 12) for prompt, name in zip(prompts, names, strict=True)]
    assert answers == expected
    assert expected[0] != greedy(merged["all"], prompts[0], 12), "the adapter changes something"


def test_a_prefix_is_not_shared_between_adapters(driver: Driver, merged: dict[str, Any]) -> None:
    prompt = ids(100, seed=77)
    for name in ("", "all", "some"):
        outcome = driver.run(ask(prompt, 4, adapter=name))[0]
        assert outcome.finished.usage.cached_tokens == 0
        assert ids_of(outcome.choices[0]) == greedy(merged[name], prompt, 4)
    again = driver.run(ask(prompt, 4, adapter="all"))[0]
    assert again.finished.usage.cached_tokens == 96
    assert ids_of(again.choices[0]) == greedy(merged["all"], prompt, 4)


def test_more_adapters_than_places_take_turns(
    driver: Driver, folder: Path, merged: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "MAX_LOADED", 2)
    shutil.copytree(folder / "some", folder / "copy")  # dropped in while the model is loaded
    prompt = ids(33, seed=5)
    for name, like in (("all", "all"), ("some", "some"), ("copy", "some"), ("all", "all")):
        assert ids_of(driver.run(ask(prompt, 6, adapter=name))[0].choices[0]) == greedy(
            merged[like], prompt, 6
        )
    assert len(driver.engine._adapters.slots) == 2


def test_an_adapter_in_use_stays_until_its_last_user_leaves(
    driver: Driver, folder: Path, merged: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "MAX_LOADED", 2)
    shutil.copytree(folder / "some", folder / "third")
    prompt = ids(33, seed=5)
    users = [driver.submit(ask(prompt, 100, adapter=name)) for name in ("all", "some", "some")]
    driver.step()
    waiting = driver.engine.prepare(ask(prompt, 6, adapter="third"))
    for gone in users[1:]:
        with pytest.raises(Overloaded):
            driver.engine.submit(-1, waiting)
        driver.engine.cancel(gone)
    assert ids_of(driver.run(ask(prompt, 6, adapter="third"))[0].choices[0]) == greedy(
        merged["some"], prompt, 6
    )
    assert ids_of(driver.outcome(users[0]).choices[0])[:6] == greedy(merged["all"], prompt, 6)


def test_unknown_adapters_are_named_with_those_there_are(driver: Driver) -> None:
    with pytest.raises(ModelNotFound, match=r"there are: all, .*some"):
        driver.engine.prepare(ask(adapter="nobody"))
    with pytest.raises(ModelNotFound):
        driver.engine.prepare(ask(adapter="../all"))


def test_a_model_without_adapters_says_so(tiny: TinyModel) -> None:
    engine = open_engine(model_of(tiny))
    with pytest.raises(ModelNotFound, match="has no adapters"):
        engine.prepare(ask(adapter="all"))
    engine.close()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"use_dora": True}, "DoRA"),
        ({"peft_type": "IA3"}, "only LoRA"),
        ({"bias": "all"}, "biases"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"alora_invocation_tokens": [5]}, "in the middle"),
        ({"init_lora_weights": "pissa_niter_4"}, "plain LoRA"),
    ],
)
def test_other_kinds_are_refused(
    driver: Driver, folder: Path, tiny: TinyModel, change: dict[str, Any], message: str
) -> None:
    name = f"odd-{next(iter(change))}"
    write_adapter(folder / name, tiny.reference, 3, ("q_proj",), **change)
    with pytest.raises(InvalidRequest, match=message):
        driver.engine.prepare(ask(adapter=name))


def test_damaged_files_are_refused(driver: Driver, folder: Path, tiny: TinyModel) -> None:
    write_adapter(folder / "hurt", tiny.reference, 4, ("q_proj",))
    path = folder / "hurt" / "adapter_model.safetensors"
    whole = path.read_bytes()
    name = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"
    misfit = {name: np.zeros((2, 7), np.float32), name.replace("_A", "_B"): np.zeros((128, 2), np.float32)}
    twice = whole.replace(b'"dtype": "F32", "shape"', b'"shape": 0, "shape"', 1)
    assert twice != whole
    for data in (twice, b"", whole[:-9], whole[:60], b"\xff" * 8 + whole[8:], b"PK\x03\x04" + whole):
        path.write_bytes(data)
        with pytest.raises(InvalidRequest, match="can't be used"):
            driver.engine.prepare(ask(adapter="hurt"))
    for tensors in ({}, misfit, {"model.embed.weight": np.zeros((1, 1), np.float32)}):
        write_safetensors(path, tensors)
        with pytest.raises(InvalidRequest, match="can't be used"):
            driver.engine.prepare(ask(adapter="hurt"))
