"""Hubs that lie, say too little or are none: nothing of theirs is installed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from quintet.core.errors import Forbidden, LoadFailed, NotReady
from quintet.weights.library import Library
from tests.support.hub import LocalHub
from tests.support.starter import FILES, FOLDER
from tests.weights.test_pull import NAME, WEIGHTS, refusal


@pytest.fixture
def library(tmp_path: Path) -> Library:
    return Library(tmp_path / "home")


def test_a_file_shorter_than_the_hub_says_ends_the_pull(hub: LocalHub, library: Library) -> None:
    repo = hub.add(NAME, FOLDER)
    fact = repo.fact(WEIGHTS)
    longer = fact["size"] + 1
    repo.claims[WEIGHTS] = {"lfs": fact["lfs"] | {"size": longer}}
    error = refusal(library, LoadFailed)
    assert error.code == "checksum_mismatch"
    assert f"{fact['size']} bytes" in error.message
    assert f"{longer} bytes" in error.message
    assert repo.sent[WEIGHTS] == fact["size"], "it is not asked for again and again"


@pytest.mark.parametrize("claim", [{"blobId": ""}, {"lfs": {"sha256": "", "size": 3, "pointerSize": 1}}])
def test_a_hub_that_names_no_hash_is_not_trusted(
    hub: LocalHub, library: Library, claim: dict[str, Any]
) -> None:
    repo = hub.add(NAME, FOLDER)
    repo.claims["config.json"] = claim
    error = refusal(library, NotReady)
    assert error.code == "hub_failed"
    assert "the hash of config.json" in error.message
    assert repo.sent_bytes == 0


def test_a_hub_that_names_no_commit_is_not_trusted(hub: LocalHub, library: Library) -> None:
    hub.add(NAME, FOLDER, commit="main")
    assert "which commit main is" in refusal(library, NotReady).message


def test_an_endpoint_that_is_no_address(
    library: Library, hub: LocalHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://me:ses/ame@host")
    error = refusal(library, NotReady)
    assert error.message.startswith("HF_ENDPOINT is no address")
    assert "ses" not in error.message


def test_a_password_in_the_endpoint_is_not_shown(
    hub: LocalHub, library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.url.replace("//", "//me:sesame@"))
    error = refusal(library, Forbidden)  # the password is sent, and is no token
    assert "sesame" not in error.message
    assert hub.url in error.message


@pytest.mark.parametrize("name", ["../../evil.json", "/etc/evil.json", "a/../../evil.json"])
def test_a_hub_that_names_files_elsewhere(hub: LocalHub, library: Library, name: str) -> None:
    hub.add(NAME, FILES | {name: b"{}"})
    assert refusal(library, LoadFailed).code == "model_refused"


def test_an_endpoint_that_is_no_hub(hub: LocalHub, library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    repo = hub.add(NAME, FOLDER)
    monkeypatch.setattr(repo, "facts", lambda: [3])
    error = refusal(library, NotReady)
    assert error.code == "hub_failed"
    assert "HF_ENDPOINT" in error.message
