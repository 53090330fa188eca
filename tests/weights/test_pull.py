"""Pulls in this process: what is installed, what is kept, and what every failure says."""

from __future__ import annotations

import json
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest

from quintet.core.errors import (
    Conflict,
    Forbidden,
    InsufficientStorage,
    InvalidRequest,
    LoadFailed,
    NotFound,
    NotReady,
    QuintetError,
    Unsupported,
)
from quintet.core.events import Progress
from quintet.core.models import Model, Source
from quintet.weights.hub import PART, Patience
from quintet.weights.library import Library, verify
from quintet.weights.manifest import FILE_NAME
from quintet.weights.order import Order
from quintet.weights.pull import Outcome, Pull
from tests.support.hub import GOOD_TOKEN, LocalHub
from tests.support.starter import FILES, FOLDER, SIZE_BYTES

NAME = "owner/model"
WEIGHTS = "openvino_model.bin"
QUICK = Patience(tries=2, pause_seconds=0.01)


@pytest.fixture
def library(tmp_path: Path) -> Library:
    return Library(tmp_path / "home")


def pull(
    library: Library, steps: list[Progress] | None = None, memory_bytes: int | None = None, **order: Any
) -> Outcome:
    wanted = Order(**({"name": NAME, "repo": NAME} | order))
    report = (steps if steps is not None else []).append
    return Pull(library, wanted, report, patience=QUICK, memory_bytes=memory_bytes).run()


def refusal(library: Library, kind: type[QuintetError], **order: Any) -> QuintetError:
    """The error of a pull that must fail; whatever it is, no model can be seen after it."""
    with pytest.raises(kind) as caught:
        pull(library, **order)
    assert type(caught.value) is kind
    assert library.installed() == []
    assert not library.folder(NAME).exists()
    assert "\n" not in caught.value.message
    return caught.value


def test_a_repository_becomes_an_installed_model(hub: LocalHub, library: Library) -> None:
    repo = hub.add(NAME, FOLDER)
    steps: list[Progress] = []
    outcome = pull(library, steps)
    assert not outcome.already
    manifest = library.find(NAME).manifest
    assert (manifest.repo, manifest.revision, manifest.format) == (NAME, repo.commit, "openvino")
    assert (manifest.task, manifest.engine) == ("text", "text")
    assert manifest.context_length > 0
    assert {file.name for file in manifest.files} == set(FILES)
    assert verify(outcome.installed) == []
    assert list(dict.fromkeys(step.stage for step in steps)) == ["look", "download", "check", "install"]
    assert max(step.done for step in steps if step.stage == "download") == repo.size_bytes
    assert not library.staging(NAME).exists()


def test_the_same_revision_is_not_pulled_twice(hub: LocalHub, library: Library) -> None:
    repo = hub.add(NAME, FOLDER)
    pull(library)
    assert pull(library).already
    assert repo.sent_bytes == SIZE_BYTES


def test_another_revision_takes_the_place_of_the_old_one(hub: LocalHub, library: Library) -> None:
    hub.add(NAME, FOLDER, commit="1" * 40)
    pull(library)
    hub.add(NAME, FILES | {"README.md": b"new"}, commit="2" * 40)
    assert not pull(library).already
    manifest = library.find(NAME).manifest
    assert manifest.revision == "2" * 40
    assert (library.folder(NAME) / "README.md").read_bytes() == b"new"


def test_a_revision_is_pinned_to_its_commit(hub: LocalHub, library: Library) -> None:
    repo = hub.add(NAME, FOLDER)
    pull(library, revision=repo.commit)
    assert library.find(NAME).manifest.revision == repo.commit
    asked = {path for _, path in hub.requests if "/resolve/" in path}
    assert all(f"/resolve/{repo.commit}/" in path for path in asked)


def test_what_the_catalog_says_wins_over_the_files(hub: LocalHub, library: Library) -> None:
    hub.add(NAME, {f"ir/{name}": content for name, content in FILES.items()})
    source = Source(repo=NAME, format="openvino", subfolder="ir", precision="int8")
    model = Model(
        name="little", task="text", engine="text", context_length=99, licence="mit", sources=(source,)
    )
    pull(library, name="little", subfolder="ir", format="openvino", stored_precision="int8", model=model)
    manifest = library.find("little").manifest
    assert (manifest.context_length, manifest.licence, manifest.precision) == (99, "mit", "int8")
    assert {file.name for file in manifest.files} == set(FILES)


def test_a_directory_is_copied(library: Library) -> None:
    outcome = pull(library, name="mine", repo="", directory=str(FOLDER))
    assert verify(outcome.installed) == []
    assert outcome.installed.manifest.repo == ""
    assert (outcome.installed.folder / WEIGHTS).stat().st_ino != (FOLDER / WEIGHTS).stat().st_ino


def test_a_cut_connection_goes_on_where_it_was(hub: LocalHub, library: Library) -> None:
    repo = hub.add(NAME, FOLDER)
    repo.fault(WEIGHTS, cut_after=1_000_000, cuts=3)
    pull(library)
    assert repo.sent[WEIGHTS] == FILES[WEIGHTS].stat().st_size


def test_what_a_failed_pull_brought_is_kept(hub: LocalHub, library: Library) -> None:
    repo = hub.add(NAME, FOLDER)
    part = library.staging(NAME) / "source" / (WEIGHTS + PART)
    part.parent.mkdir(parents=True)
    (library.staging(NAME) / "commit").write_text(f"{NAME} {repo.commit} ")
    part.write_bytes(FILES[WEIGHTS].read_bytes()[:4_000_000])
    pull(library)
    assert repo.sent[WEIGHTS] == FILES[WEIGHTS].stat().st_size - 4_000_000


def test_a_hub_that_is_not_there(hub: LocalHub, library: Library) -> None:
    repo = hub.add(NAME, FOLDER)
    repo.fault(WEIGHTS, cut_after=0, cuts=1000)
    error = refusal(library, NotReady)
    assert error.code == "hub_unreachable"
    assert hub.url in error.message
    assert "run the same pull again" in error.message
    hub.__exit__()
    assert refusal(library, NotReady).code == "hub_unreachable"
    # All but the weights is here, and is not asked for again.
    assert len(list((library.staging(NAME) / "source").iterdir())) == len(FILES)


def test_unknown_repository(hub: LocalHub, library: Library) -> None:
    error = refusal(library, NotFound, repo="owner/nothing")
    assert error.code == "repo_not_found"
    assert "owner/nothing" in error.message
    assert "HF_TOKEN" in error.message


def test_unknown_revision(hub: LocalHub, library: Library) -> None:
    hub.add(NAME, FOLDER)
    error = refusal(library, NotFound, revision="v9")
    assert error.code == "revision_not_found"
    assert "v9" in error.message


def test_a_gated_repository_names_its_licence_page(
    hub: LocalHub, library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    repo = hub.add(NAME, FOLDER, gated=True)
    error = refusal(library, Forbidden)
    assert error.code == "gated_repo"
    assert f"{hub.url}/{NAME}" in error.message
    assert "HF_TOKEN" in error.message
    assert f"{hub.url}/settings/tokens" in error.message
    monkeypatch.setenv("HF_TOKEN", GOOD_TOKEN)
    repo.accepted = False
    error = refusal(library, Forbidden)
    assert "its account has no access" in error.message
    repo.accepted = True
    pull(library)


def test_a_token_the_hub_refuses(hub: LocalHub, library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.add(NAME, FOLDER)
    monkeypatch.setenv("HF_TOKEN", "hf_bad")
    error = refusal(library, Forbidden)
    assert error.code == "hub_token_refused"
    assert "hf_bad" not in error.message


def test_a_private_repository_opens_with_the_token(
    hub: LocalHub, library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add(NAME, FOLDER, private=True)
    refusal(library, NotFound)
    monkeypatch.setenv("HF_TOKEN", GOOD_TOKEN)
    pull(library)


def test_a_disk_too_small_is_found_out_before_the_download(hub: LocalHub, library: Library) -> None:
    repo = hub.add(NAME, FOLDER)
    fact = repo.fact(WEIGHTS)
    repo.claims[WEIGHTS] = {"size": 10**15, "lfs": fact["lfs"] | {"size": 10**15}}
    error = refusal(library, InsufficientStorage, memory_bytes=10**16)
    here = repo.fact("config.json")["size"]  # it tells what the model is for, so it is the first to come
    assert error.facts["needed"] == int((10**15 + SIZE_BYTES - fact["size"] - here) * 1.1)
    assert error.facts["free"] > 0
    assert "1100000.0 GB" in error.message
    assert repo.sent.keys() <= {"config.json"}


@pytest.mark.parametrize("place", [{"repo": NAME}, {"repo": "", "directory": str(FOLDER)}])
def test_a_machine_too_small_is_found_out_before_the_download(
    hub: LocalHub, library: Library, place: dict[str, str]
) -> None:
    repo = hub.add(NAME, FOLDER)
    order = Order(**({"name": NAME} | place))
    with pytest.raises(LoadFailed, match=r"take 5\.8 MB of memory, but this machine has 1\.0 MB") as caught:
        Pull(library, order, lambda _: None, memory_bytes=1_000_000).run()
    assert caught.value.code == "insufficient_memory"
    assert repo.sent.keys() <= {"config.json"}
    assert library.installed() == []


def test_a_disk_that_fills_up_midway(hub: LocalHub, library: Library) -> None:
    repo = hub.add(NAME, FOLDER)
    part = library.staging(NAME) / "source" / (WEIGHTS + PART)
    part.parent.mkdir(parents=True)
    (library.staging(NAME) / "commit").write_text(f"{NAME} {repo.commit} ")
    part.symlink_to("/dev/full")
    error = refusal(library, InsufficientStorage)
    assert "QUINTET_HOME" in error.message
    part.unlink()
    pull(library)


def test_wrong_bytes_are_thrown_away(hub: LocalHub, library: Library) -> None:
    repo = hub.add(NAME, FOLDER)
    for name in (WEIGHTS, "config.json"):
        repo.faults.clear()
        repo.fault(name, wrong_bytes=True)
        shutil.rmtree(library.staging(NAME), ignore_errors=True)
        error = refusal(library, LoadFailed)
        assert error.code == "checksum_mismatch"
        assert name in error.message
        source = library.staging(NAME) / "source"
        assert not (source / name).exists()
        assert not (source / (name + PART)).exists()
    repo.faults.clear()
    pull(library)


def test_files_of_no_use_to_this_pull_are_not_installed(hub: LocalHub, library: Library) -> None:
    repo = hub.add(NAME, FOLDER)
    source = library.staging(NAME) / "source"
    source.mkdir(parents=True)
    (library.staging(NAME) / "commit").write_text(f"{NAME} {repo.commit} ")
    for name in ("config.json.new", "other.safetensors.part", "other.json"):  # of a killed or another pull
        (source / name).write_bytes(b"{}")
    pull(library)
    assert {file.name for file in library.find(NAME).manifest.files} == set(FILES)


def test_pickles_only(hub: LocalHub, library: Library) -> None:
    hub.add(NAME, {"config.json": b"{}", "pytorch_model.bin": b"x", "model.gguf": b"x"})
    error = refusal(library, Unsupported)
    assert error.code == "wrong_format"
    assert ".bin, .gguf" in error.message


@pytest.mark.parametrize(
    ("architecture", "code", "says"),
    [
        ("T5ForConditionalGeneration", "no_engine", "T5ForConditionalGeneration, and of the models that see"),
        ("FancyNewThing", "unknown_architecture", "FancyNewThing"),
    ],
)
def test_what_could_only_fail_later_fails_before_the_weights(
    hub: LocalHub, library: Library, architecture: str, code: str, says: str
) -> None:
    config = json.dumps({"architectures": [architecture]}).encode()
    repo = hub.add(NAME, {"config.json": config, "model.safetensors": b"x" * 1000})
    error = refusal(library, Unsupported)
    assert error.code == code
    assert says in error.message
    assert repo.sent.keys() == {"config.json"}


def test_files_that_the_gate_refuses(hub: LocalHub, library: Library) -> None:
    repo = hub.add(NAME, FILES | {WEIGHTS: FILES[WEIGHTS].read_bytes()[:1000]})
    error = refusal(library, LoadFailed)
    assert error.code == "model_refused"
    assert "openvino_model" in error.message
    assert not library.staging(NAME).exists()
    assert repo.sent_bytes < SIZE_BYTES


def test_a_precision_that_can_not_be_had(hub: LocalHub, library: Library) -> None:
    hub.add(NAME, FOLDER)
    assert "int4" in refusal(library, InvalidRequest, precision="int4").message


def test_offline(library: Library, hub: LocalHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    error = refusal(library, NotReady)
    assert error.code == "offline"
    assert "HF_HUB_OFFLINE" in error.message


def test_what_is_refused_is_removed_before_the_next_pull_begins(
    hub: LocalHub, library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add(NAME, FILES | {WEIGHTS: b"short"})
    held: list[bool] = []
    remove = shutil.rmtree

    def watched(path: Path, **more: Any) -> None:
        try:
            with library.locked(NAME, wait=False):
                held.append(False)
        except Conflict:
            held.append(True)
        remove(path, **more)

    monkeypatch.setattr("shutil.rmtree", watched)
    refusal(library, LoadFailed)
    assert len(held) >= 2
    assert all(held)


def test_two_pulls_of_one_model_download_it_once(hub: LocalHub, library: Library) -> None:
    repo = hub.add(NAME, FOLDER)
    repo.fault(WEIGHTS, hold_after=1_000_000)
    outcomes: list[Outcome] = []
    waiting = threading.Event()

    def second(step: Progress) -> None:
        if step.stage == "wait":
            waiting.set()

    def run(report: Any) -> None:
        outcomes.append(Pull(library, Order(name=NAME, repo=NAME), report, patience=QUICK).run())

    threads = [threading.Thread(target=run, args=(lambda _: None,))]
    threads[0].start()
    assert hub.holding.wait(20)
    threads.append(threading.Thread(target=run, args=(second,)))
    threads[1].start()
    assert waiting.wait(20)
    assert not library.folder(NAME).exists()
    hub.release.set()
    for thread in threads:
        thread.join(20)
    assert sorted(outcome.already for outcome in outcomes) == [False, True]
    assert repo.sent_bytes == SIZE_BYTES


def test_a_replacement_killed_between_its_renames_is_undone(hub: LocalHub, library: Library) -> None:
    hub.add(NAME, FOLDER)
    pull(library)
    old = library.staging(NAME).with_name(".owner--model.old")
    library.folder(NAME).rename(old)
    assert pull(library).already
    assert (library.folder(NAME) / FILE_NAME).is_file()


def test_a_model_that_no_engine_runs_is_not_brought(hub: LocalHub, library: Library) -> None:
    """The catalog knows pictures and speech before there are engines for them."""
    speech = Model(
        name="whisper-tiny",
        task="speech",
        engine="speech",
        sources=(Source(repo="maker/whisper", format="openvino"),),
    )
    order = Order(name=speech.name, repo="maker/whisper", model=speech)
    with pytest.raises(Unsupported, match=r"for speech.*nothing was downloaded"):
        Pull(library, order, lambda _: None).run()
    hub.add(
        "maker/whisper",
        {
            "config.json": b'{"architectures": ["WhisperForConditionalGeneration"]}',
            "model.bin": b"0",
            "vocabulary.txt": b"a",
        },
    )
    with pytest.raises(Unsupported, match="for speech"):
        Pull(library, Order(name="maker/whisper", repo="maker/whisper"), lambda _: None).run()
    assert library.installed() == []


def test_what_can_be_pulled_is_what_the_server_has_engines_for() -> None:
    from quintet.server.app import ENGINES as OPENED
    from quintet.weights.facts import ENGINES
    from quintet.weights.preflight import RUNNABLE

    assert {task for task, engine in ENGINES.items() if engine in OPENED} == RUNNABLE
