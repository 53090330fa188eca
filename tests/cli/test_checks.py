"""Doctor's checks on machines that have something wrong with them."""

import json
import os
import socket
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from quintet.cli import checks, floors
from quintet.cli.checks import Finding
from quintet.config import Settings
from quintet.store.keys import open_key_store
from quintet.weights.vision import COMMON_PARTS


def levels(findings: list[Finding]) -> list[str]:
    return [finding.level for finding in findings]


def fill(home: Path) -> Settings:
    settings = Settings(home=home)
    open_key_store(settings.database_path, settings.pepper_path).database.close()
    return settings


def test_a_sound_home_has_nothing_to_mend(tmp_path: Path) -> None:
    settings = fill(tmp_path / "home")
    findings = [*checks.check_home(settings), *checks.check_database(settings)]
    assert "fail" not in levels(findings)
    assert Finding("ok", "the database is whole") in findings


def test_a_damaged_database_is_found(tmp_path: Path) -> None:
    settings = fill(tmp_path)
    settings.database_path.write_bytes(b"SQLite format 3\0" + b"\xff" * 8192)
    (finding, *_) = checks.check_database(settings)
    assert finding.level == "fail"
    assert "backup" in finding.mend


@pytest.mark.parametrize("name", ["quintet.db", "pepper"])
def test_one_lost_file_is_found(name: str, tmp_path: Path) -> None:
    settings = fill(tmp_path)
    (tmp_path / name).unlink()
    (finding,) = checks.check_database(settings)
    assert finding.level == "fail"
    assert name in finding.text


def test_files_open_to_others_are_found(tmp_path: Path) -> None:
    settings = fill(tmp_path)
    settings.pepper_path.chmod(0o644)
    assert Finding("fail", "other users can read pepper", f"chmod 600 {settings.pepper_path}") in list(
        checks.check_database(settings)
    )


def test_a_database_in_use_is_not_called_damaged(tmp_path: Path) -> None:
    settings = fill(tmp_path)
    connection = sqlite3.connect(settings.database_path, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    assert levels(list(checks.check_database(settings))) == ["ok"]
    connection.close()


def test_a_home_that_is_a_file_is_found(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (finding, *_) = checks.check_home(Settings(home=tmp_path / "file" / "home"))
    assert finding.level == "fail"
    assert "QUINTET_HOME" in finding.mend


@pytest.mark.parametrize(("task", "stems"), [("text", checks.WEIGHTS), ("vision", COMMON_PARTS)])
def test_weights_that_are_gone_are_found(task: str, stems: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models/own.toml").write_text(f'[own]\ntask = "{task}"\nengine = "text"\npath = "weights"\n')
    findings = list(checks.check_models(Settings(home=tmp_path)))
    (gone,) = [finding for finding in findings if "own" in finding.text]
    assert gone.level == "fail"
    assert f"{stems[-1]}.xml" in gone.mend
    (tmp_path / "models/weights").mkdir()
    for name in ("tokenizer.json", *(stem + suffix for stem in stems for suffix in (".xml", ".bin"))):
        (tmp_path / "models/weights" / name).write_bytes(b"")
    assert Finding("ok", "model own is installed") in list(checks.check_models(Settings(home=tmp_path)))


@pytest.mark.parametrize("text", ["[own]\ntask = 7\n", "not toml"])
def test_a_wrong_catalog_file_is_named(text: str, tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models/own.toml").write_text(text)
    (finding,) = checks.check_models(Settings(home=tmp_path))
    assert finding.level == "fail"
    assert "own.toml" in finding.text


def test_an_unknown_default_model_is_found(tmp_path: Path) -> None:
    (finding,) = checks.check_models(Settings(home=tmp_path, default_model="gone"))
    assert finding.level == "fail"
    assert "default_model" in finding.text


def test_a_port_taken_by_another_program_is_found() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.listen()
        settings = Settings(home=Path("/nonexistent"), port=server.getsockname()[1])
        # Somebody who accepts and hangs up: no server of ours.
        helper = subprocess.Popen(
            [
                sys.executable,
                "-c",
                f"import socket; socket.socket(fileno={server.fileno()}).accept()[0].close()",
            ],
            pass_fds=[server.fileno()],
        )
        (finding,) = checks.check_port(settings)
        assert helper.wait(10) == 0
    assert finding.level == "fail"
    assert "another program" in finding.text


def test_a_free_port_is_fine_and_a_foreign_address_is_not() -> None:
    assert levels(list(checks.check_port(Settings(home=Path("/nonexistent"), port=0)))) == ["ok"]
    (finding,) = checks.check_port(Settings(home=Path("/nonexistent"), host="192.0.2.1", port=0))
    assert finding.level == "fail"


def test_processor_flags(tmp_path: Path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("processor : 0\nflags\t\t: fpu sse4_2 avx2 avx512f avx512_bf16 amx_tile\n")
    assert list(checks.check_processor(cpuinfo))[1].text == "fast instructions: AVX2, AVX-512, bf16, AMX"
    cpuinfo.write_text("processor : 0\nflags\t\t: fpu sse4_2\n")
    assert list(checks.check_processor(cpuinfo))[1].level == "warn"


@pytest.mark.parametrize(
    ("free_kib", "limit", "used", "level"),
    [(8 << 20, "max", "0", "ok"), (1 << 20, "max", "0", "warn"), (8 << 20, str(1 << 28), "0", "fail")],
)
def test_memory_is_counted_inside_the_container(
    free_kib: int, limit: str, used: str, level: str, tmp_path: Path
) -> None:
    (tmp_path / "meminfo").write_text(f"MemTotal: 99999999 kB\nMemAvailable: {free_kib} kB\n")
    (tmp_path / "memory.max").write_text(limit + "\n")
    (tmp_path / "memory.current").write_text(used + "\n")
    assert levels(list(checks.check_memory(tmp_path / "meminfo", tmp_path))) == [level]


@pytest.mark.parametrize(
    ("version", "floor", "below"),
    [
        ("1.2.9", "1.3.0", True),
        ("1.3", "1.3.0", False),
        ("1.10.0", "1.3.0", False),
        ("2.13.0+cpu", "2.6", False),
        ("0.0.26", "0.0.27", True),
        ("5.2.0", "5.2.1", True),
    ],
)
def test_versions_are_compared_as_numbers(version: str, floor: str, below: bool) -> None:
    assert floors.is_below(version, floor) is below


def test_packages_of_this_environment_pass_their_floors() -> None:
    assert levels(list(checks.check_packages())) == ["ok"]


def test_doctor_ends_with_1_only_for_real_problems(tmp_path: Path) -> None:
    environ = {"PATH": os.environ["PATH"], "QUINTET_HOME": str(tmp_path), "QUINTET_PORT": "0"}
    command = [sys.executable, "-m", "quintet", "doctor", "--json"]
    sound = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False, env=environ)
    assert sound.returncode == 0, sound.stdout
    assert any("OpenVINO" in finding["text"] for finding in json.loads(sound.stdout))
    (tmp_path / "pepper").write_text("lost its database\n")
    broken = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False, env=environ)
    assert broken.returncode == 1
    assert all(each["mend"] for each in json.loads(broken.stdout) if each["level"] == "fail")
