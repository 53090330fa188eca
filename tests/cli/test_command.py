"""The command as a whole: help with examples, a quick start, failures in one line."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command
from typer.testing import CliRunner

import quintet
from quintet.cli.main import app

HEAVY = (
    "alembic",
    "fastapi",
    "httpx",
    "numpy",
    "openvino",
    "prompt_toolkit",
    "pydantic",
    "sqlalchemy",
    "uvicorn",
)


def quintet_process(*arguments: str, home: Path, text: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "quintet", *arguments],
        input=text,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={"QUINTET_HOME": str(home), "PATH": "/usr/bin:/bin", "QUINTET_PORT": "1"},
    )


def all_commands() -> list[tuple[str, ...]]:
    found: list[tuple[str, ...]] = [()]
    for words in found:
        command: Any = get_command(app)
        for word in words:
            command = command.commands[word]
        found.extend((*words, name) for name in getattr(command, "commands", {}))
    return found


@pytest.mark.parametrize("words", all_commands(), ids=" ".join)
def test_every_help_shows_examples(words: tuple[str, ...]) -> None:
    result = CliRunner().invoke(app, [*words, "--help"])
    assert result.exit_code == 0
    examples = result.output.partition("Examples:\n")[2].split("\n\n")[0].splitlines()
    assert examples, "no examples"
    assert all(line.startswith("  ") for line in examples), "the line breaks of the examples are lost"
    assert " ".join(("quintet", *words)) in "\n".join(examples)


def test_all_expected_commands_exist() -> None:
    names = {" ".join(words) for words in all_commands()}
    expected = {
        "serve",
        "chat",
        "pull",
        "models list",
        "models show",
        "models remove",
        "models verify",
        "keys create",
        "keys list",
        "keys revoke",
        "doctor",
    }
    assert expected <= names


def test_help_loads_nothing_heavy() -> None:
    code = f"import sys, quintet.cli.main; print([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "[]"


def test_version(tmp_path: Path) -> None:
    done = quintet_process("--version", home=tmp_path)
    assert (done.returncode, done.stdout) == (0, f"quintet {quintet.__version__}\n")


def test_unknown_setting_is_one_line_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "quintet.toml").write_text("prot = 8000\n")
    done = quintet_process("keys", "list", home=tmp_path)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("quintet: ")
    assert "prot" in done.stderr
    assert done.stderr.count("\n") == 1


def test_without_a_server_models_come_from_the_catalog(tmp_path: Path) -> None:
    done = quintet_process("models", "list", home=tmp_path)
    assert done.returncode == 0
    assert "starter-chat" in done.stdout.splitlines()
    assert "No server answers" in done.stderr


@pytest.mark.parametrize(
    "words",
    [("chat", "hello"), ("models", "list", "--url", "http://127.0.0.1:1")],
    ids=" ".join,
)
def test_without_a_server_it_says_how_to_start_one(words: tuple[str, ...], tmp_path: Path) -> None:
    done = quintet_process(*words, home=tmp_path)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr == (
        "quintet: no server answers at http://127.0.0.1:1. Start one with: quintet serve (or: make serve)\n"
    )


def test_unexpected_errors_are_one_line_and_a_traceback_on_request(tmp_path: Path) -> None:
    broken = "from quintet.cli import main, doctor\ndef fail(home): raise RuntimeError('boom')\n"
    broken += "doctor.examine = fail\nmain.main()"
    for option, wanted in (((), "quintet: unexpected RuntimeError: boom."), (("--traceback",), "Traceback")):
        done = subprocess.run(
            [sys.executable, "-c", broken, *option, "doctor"],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode != 0
        assert done.stderr.startswith(wanted)
