"""Installed models: listed, verified, removed, and laid under the catalog."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from quintet.core.errors import Conflict, ModelNotFound
from quintet.core.models import Model, Source
from quintet.weights.library import Library, verify, with_installed
from quintet.weights.manifest import FILE_NAME, Manifest, record_files, write_manifest

SOURCE = Source(repo="owner/model", format="openvino")


@pytest.fixture
def library(tmp_path: Path) -> Library:
    return Library(tmp_path)


def install(library: Library, name: str, size: int = 1000) -> Path:
    """A model of one file, as a pull leaves it."""
    folder = library.folder(name)
    folder.mkdir(parents=True)
    (folder / "weights.bin").write_bytes(os.urandom(size))
    files = record_files(folder, {}, lambda _: None)
    manifest = Manifest(name=name, task="text", engine="text", format="openvino", files=files)
    write_manifest(folder, manifest)
    return folder


def test_an_empty_home_has_no_models_and_gets_no_folders(library: Library) -> None:
    assert library.installed() == []
    assert library.stamp() == (0, 0)
    with pytest.raises(ModelNotFound, match="quintet pull"):
        library.find("nothing")
    with pytest.raises(ModelNotFound):
        library.remove("nothing")
    assert not library.root.exists()


def test_installed_models_are_found_by_name(library: Library) -> None:
    install(library, "owner/model")
    install(library, "alone")
    assert [one.manifest.name for one in library.installed()] == ["alone", "owner/model"]
    assert library.find("owner/model").folder.name == "owner--model"
    with pytest.raises(ModelNotFound):
        library.find("owner--model")


def test_a_folder_without_a_readable_manifest_is_no_model(library: Library) -> None:
    install(library, "good")
    (install(library, "torn") / FILE_NAME).write_text("{")
    (library.root / "stray").mkdir()
    install(library, "owner/bad").joinpath(FILE_NAME).unlink()
    assert [one.manifest.name for one in library.installed()] == ["good"]
    assert library.broken() == ["owner/bad", "stray", "torn"]


@pytest.mark.parametrize("name", ["..", "../x", "/etc", ".staging", "", "a\0b", "a b", "x" * 200])
def test_names_that_are_no_names(library: Library, name: str) -> None:
    install(library, "good")
    with pytest.raises(ModelNotFound):
        library.remove(name)
    assert library.find("good")


def test_verify_names_every_wrong_file(library: Library) -> None:
    folder = install(library, "model")
    installed = library.find("model")
    read: list[int] = []
    assert verify(installed, read.append) == []
    assert sum(read) == 1000
    data = bytearray((folder / "weights.bin").read_bytes())
    data[500] ^= 1
    (folder / "weights.bin").write_bytes(data)
    assert "SHA-256" in verify(installed)[0]
    (folder / "weights.bin").write_bytes(b"short")
    assert verify(installed) == ["weights.bin: has 5 bytes, 1000 were installed"]
    (folder / "weights.bin").unlink()
    assert "can't be read" in verify(installed)[0]


def test_remove_frees_the_model_and_what_a_pull_left(library: Library) -> None:
    folder = install(library, "model", 5000)
    staging = library.staging("model")
    (staging / "source").mkdir(parents=True)
    (staging / "source" / "weights.bin.part").write_bytes(b"x" * 700)
    assert library.remove("model") > 5700
    assert not folder.exists()
    assert not staging.exists()
    with pytest.raises(ModelNotFound):
        library.remove("model")


def test_what_is_left_of_a_removal_that_was_killed_never_comes_back(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(library, "model")

    def killed(path: Path, **_: object) -> None:
        if path.exists():
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("shutil.rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            library.remove("model")
    library.recover("model")
    assert library.installed() == []
    assert library.remove("model") >= 1000, "a second try ends what the first began"
    with pytest.raises(ModelNotFound):
        library.remove("model")


@pytest.mark.parametrize("ending", [".old", ".lock"])
def test_models_whose_names_end_like_our_own_files(library: Library, ending: str) -> None:
    folder = install(library, "model")
    other = library.staging(f"model{ending}")
    other.mkdir(parents=True)
    with library.locked("model", wait=False):
        new = library.root / "new"
        folder.rename(new)
        install(library, "model")
        library.replace("model", new)
    assert other.is_dir()


def test_a_broken_model_can_be_removed_but_no_other(library: Library) -> None:
    (install(library, "torn") / FILE_NAME).write_text("{")
    assert library.remove("torn") > 0
    folder = install(library, "owner/model")
    library.staging("owner/model").mkdir(parents=True)
    with pytest.raises(ModelNotFound):
        library.remove("owner--model")
    assert folder.exists()


def test_a_model_that_is_being_pulled_is_not_removed(library: Library) -> None:
    install(library, "model")
    with library.locked("model", wait=False), pytest.raises(Conflict, match="being pulled"):
        library.remove("model")
    assert library.find("model")


def test_the_stamp_tells_of_every_change(library: Library) -> None:
    install(library, "one")
    assert library.stamp() is None, "a change just now may be followed by one that looks the same"
    long_ago = time.time() - 60
    os.utime(library.root, (long_ago, long_ago))
    before = library.stamp()
    assert before == library.stamp()
    install(library, "two")
    assert library.stamp() != before


def test_the_catalog_gets_the_paths_of_installed_models(library: Library) -> None:
    folder = install(library, "known")
    catalog = [
        Model(name="known", task="text", engine="text", context_length=77, sources=(SOURCE,)),
        Model(name="absent", task="text", engine="text", sources=(SOURCE,)),
    ]
    known, absent = with_installed(catalog, library.installed())
    assert (known.path, known.context_length) == (str(folder), 77)
    assert not absent.path


def test_a_path_in_the_catalog_wins(library: Library) -> None:
    install(library, "known")
    (model,) = with_installed(
        [Model(name="known", task="text", engine="text", path="/mine")], library.installed()
    )
    assert model.path == "/mine"


def test_installed_models_may_be_unknown_to_the_catalog(library: Library) -> None:
    folder = install(library, "owner/model")
    (model,) = with_installed([], library.installed())
    assert (model.name, model.path, model.task) == ("owner/model", str(folder), "text")


def test_of_several_that_claim_an_alias_one_gets_it(library: Library) -> None:
    for name in ("first", "second", "third"):
        install(library, name)
    catalog = [
        Model(name="here", task="text", engine="echo", aliases=("taken",)),
        Model(name="first", task="text", engine="text", aliases=("chat", "taken", "mine"), sources=(SOURCE,)),
        Model(name="second", task="text", engine="text", aliases=("chat", "third"), sources=(SOURCE,)),
    ]
    found = {model.name: model.aliases for model in with_installed(catalog, library.installed(), {"mine"})}
    assert found == {"here": ("taken",), "first": ("chat",), "second": (), "third": ()}
