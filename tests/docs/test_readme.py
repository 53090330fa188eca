"""What README tells strangers to type works, with a real server and the starter model."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from tests.support.server import RunningServer

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
ADDRESS = "http://127.0.0.1:8000"


def blocks(language: str, containing: str) -> list[str]:
    found = re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    return [block for block in found if containing in block]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with RunningServer.start(tmp_path_factory.mktemp("home"), default_model="starter-chat") as running:
        yield running


def run(command: list[str], folder: Path | None = None) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=folder)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_both_ways_to_ask_are_shown() -> None:
    assert [("base64" in block) for block in blocks("sh", "curl")] == [False, True]
    assert len(blocks("python", "OpenAI")) == 1
    assert README.count(ADDRESS) >= 3


@pytest.mark.parametrize("block", blocks("sh", "curl"))
def test_curl_blocks(block: str, server: RunningServer, tmp_path: Path) -> None:
    picture = Image.new("RGB", (200, 200), "white")
    ImageDraw.Draw(picture).ellipse((50, 50, 150, 150), fill="red")
    picture.save(tmp_path / "picture.png")
    command = block.replace("curl ", "curl --silent --fail ").replace(ADDRESS, server.url)
    answer = json.loads(run(["bash", "-euc", command], tmp_path))
    text = answer["choices"][0]["message"]["content"]
    assert "red circle" in text if "base64" in block else text.strip()
    assert answer["usage"]["completion_tokens"] > 0


@pytest.mark.parametrize("block", blocks("python", "OpenAI"))
def test_python_blocks(block: str, server: RunningServer) -> None:
    assert run([sys.executable, "-c", block.replace(ADDRESS, server.url)]).strip()


def test_the_two_commands_are_what_the_makefile_has() -> None:
    (block,) = blocks("sh", "git clone")
    assert block.splitlines()[1:] == ["make serve"]
    assert re.search(r"^serve:", (ROOT / "Makefile").read_text(), re.MULTILINE)


def test_ci_runs_the_command_that_readme_promises() -> None:
    script = (ROOT / ".ci/run").read_text()
    assert "`make test`" in README
    assert "\nmake check" in script
    assert "\nmake test" in script


def test_make_lists_every_target_that_the_pages_name() -> None:
    listed = run(["make", "--no-print-directory", "-C", str(ROOT), "help"])
    for page in (README, (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")):
        for target in set(re.findall(r"(?:^|`)make ([a-z]+)\b", page, re.MULTILINE)):
            assert f"make {target} " in listed, target


def test_named_subcommands_exist() -> None:
    for words in sorted(set(re.findall(r"`(?:\.venv/bin/)?quintet ([a-z]+(?: [a-z]+)?)", README))):
        run([sys.executable, "-m", "quintet", *words.split(), "--help"])
