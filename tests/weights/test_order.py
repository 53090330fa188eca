"""What a word after `quintet pull` means."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from quintet.core.errors import InvalidRequest, ModelNotFound, QuintetError
from quintet.core.models import Model, Source
from quintet.weights.order import Order, make_order
from tests.support.starter import FOLDER

SOURCES = (
    Source(repo="maker/model-int8-ov", format="openvino", precision="int8"),
    Source(repo="maker/model", format="safetensors", revision="v2", subfolder="sub"),
)
KNOWN = {
    "little": Model(name="little", task="text", engine="text", sources=SOURCES),
    "pictures": Model(
        name="pictures", task="image", engine="image", sources=(Source(repo="maker/sd", format="diffusers"),)
    ),
    "starter": Model(name="starter", task="text", engine="text", path="/starter"),
}


KNOWN["chat"] = KNOWN["starter"]  # an alias


def order(word: str, **more: Any) -> Order:
    return make_order(word, KNOWN.get, lambda _: ["little", "starter"], **more)


def test_a_name_takes_the_first_source() -> None:
    made = order("little")
    assert (made.name, made.repo, made.format, made.revision) == (
        "little",
        SOURCES[0].repo,
        "openvino",
        "main",
    )
    assert made.model is KNOWN["little"]


def test_a_source_can_be_chosen() -> None:
    made = order("little", source=2)
    assert (made.repo, made.revision, made.subfolder) == ("maker/model", "v2", "sub")
    assert order("little", source=2, revision="abc").revision == "abc"


@pytest.mark.parametrize(("precision", "repo"), [("int8", SOURCES[0].repo), ("int4", "maker/model")])
def test_a_precision_finds_the_source_that_has_it_or_can_be_converted(precision: str, repo: str) -> None:
    assert order("little", precision=precision).repo == repo


@pytest.mark.parametrize(
    "word",
    ["owner/model", "hf.co/owner/model", "https://huggingface.co/owner/model", "https://hf.co/owner/model/"],
)
def test_a_repository_of_the_hub(word: str) -> None:
    made = order(word, revision="v1")
    assert (made.name, made.repo, made.revision, made.model) == ("owner/model", "owner/model", "v1", None)


def test_a_directory(tmp_path: Path) -> None:
    (tmp_path / "my model").mkdir()
    made = order(str(tmp_path / "my model"))
    assert (made.name, made.directory, made.repo) == ("my-model", str(tmp_path / "my model"), "")
    (tmp_path / "little").mkdir()
    assert order(str(tmp_path / "little")).model is KNOWN["little"]


def test_an_unknown_name_is_told_the_nearest() -> None:
    with pytest.raises(ModelNotFound, match=r"The nearest names: little, starter\."):
        order("litle")


@pytest.mark.parametrize(
    ("word", "more", "says"),
    [
        ("little", {"precision": "int3"}, "int8, int4, fp16"),
        ("little", {"source": 3}, "--source 1 to 2"),
        ("pictures", {"precision": "int4"}, "can't be had in int4"),
        ("starter", {}, "lie on this machine already"),
        ("/nowhere/at/all", {}, "no directory"),
        (str(FOLDER), {}, "chat is a name of starter, which lies on this machine already"),
        ("./x", {"directories": False}, "by the command alone"),
        ("a/b/c", {}, "no model a/b/c"),
        ("../a/..", {"directories": False}, "by the command alone"),
        ("a--b/c", {}, "no model"),
        ("a\nb\x1b[2J", {}, r"no model a\?b\?\[2J in"),
    ],
)
def test_what_can_not_be_pulled(word: str, more: dict[str, Any], says: str) -> None:
    with pytest.raises(QuintetError, match=says) as caught:
        order(word, **more)
    assert isinstance(caught.value, InvalidRequest | ModelNotFound)
