"""`quintet chat` and `quintet models` with a real server, from scripts and in a terminal."""

import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.server import RunningServer

COMMAND = [sys.executable, "-m", "quintet", "chat", "--model", "echo"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with RunningServer.start(tmp_path_factory.mktemp("home")) as running:
        yield running


def environ(server: RunningServer, home: Path) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "QUINTET_HOME": str(home),
        "QUINTET_URL": server.url,
        "TERM": "xterm",
        "PROMPT_TOOLKIT_NO_CPR": "1",
    }


def chat(
    server: RunningServer, home: Path, *arguments: str, text: str = ""
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments],
        input=text,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=environ(server, home),
    )


def test_one_question(server: RunningServer, tmp_path: Path) -> None:
    done = chat(server, tmp_path, "hello there")
    assert (done.returncode, done.stdout, done.stderr) == (0, "hello there\n", "")


def test_a_scripts_lines_are_one_conversation(server: RunningServer, tmp_path: Path) -> None:
    done = chat(server, tmp_path, text="one two\n\n/clear\nthree\n/quit\nnever\n")
    assert (done.returncode, done.stdout, done.stderr) == (0, "one two\nthree\n", "")


def test_an_unknown_model_is_one_line(server: RunningServer, tmp_path: Path) -> None:
    done = chat(server, tmp_path, "--model", "gone", "hi")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("quintet: There is no such model here")
    assert done.stderr.count("\n") == 1


def test_a_crash_in_the_middle_ends_with_a_failure(server: RunningServer, tmp_path: Path) -> None:
    done = chat(server, tmp_path, "one two three four !crash@2")
    assert done.returncode == 1
    assert done.stderr.startswith("quintet: ")


def test_models_are_listed_one_per_line(server: RunningServer, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "quintet", "models", "list"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env=environ(server, tmp_path),
    )
    assert {"echo", "starter-chat"} <= set(done.stdout.splitlines())
    assert done.stderr == ""


def test_doctor_recognises_the_running_server(server: RunningServer, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "quintet", "doctor"],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        env=environ(server, tmp_path) | {"QUINTET_PORT": str(server.port)},
    )
    assert f"a server is running at 127.0.0.1:{server.port}" in done.stdout


PROMPT = "\x1b[J\x1b[0m>"
"""What is on its way to the terminal when the prompt waits for a line …"""
ACCEPTED = "\x1b[?2004l"
"""… and when the line was taken, so that what follows is the answer."""


class Terminal:
    """A person at a terminal: types, and reads what is shown."""

    def __init__(self, server: RunningServer, home: Path) -> None:
        self.shown = b""
        self.pid, self.descriptor = pty.fork()
        if self.pid == 0:
            # Started in the background, the tests themselves may have inherited a deaf ear for Ctrl-C.
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            os.execve(COMMAND[0], COMMAND, environ(server, home))

    def say(self, line: str) -> None:
        self.wait_for(PROMPT)
        os.write(self.descriptor, line.encode() + b"\r")
        self.wait_for(ACCEPTED)

    def wait_for(self, text: str, seconds: float = 10) -> None:
        end = time.monotonic() + seconds
        while text.encode() not in self.shown:
            ready, _, _ = select.select([self.descriptor], [], [], max(0, end - time.monotonic()))
            assert ready, f"{text!r} never appeared in {self.shown!r}"
            self.shown += os.read(self.descriptor, 65536)
        self.shown = self.shown.partition(text.encode())[2]

    def wait_exit(self) -> int:
        try:
            while os.read(self.descriptor, 65536):
                pass
        except OSError:  # how Linux says that the other side of a terminal is closed
            pass
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def close(self) -> None:
        os.close(self.descriptor)


@pytest.fixture
def terminal(server: RunningServer, tmp_path: Path) -> Iterator[Terminal]:
    person = Terminal(server, tmp_path)
    yield person
    person.close()


def test_a_person_talks_stops_an_answer_and_leaves(
    server: RunningServer, terminal: Terminal, tmp_path: Path
) -> None:
    terminal.wait_for("Ctrl-D leaves")
    terminal.say("good morning")
    terminal.wait_for("good morning\r\n")
    terminal.say("alpha beta gamma !stall@1")
    terminal.wait_for("alpha")
    os.kill(terminal.pid, signal.SIGINT)
    terminal.wait_for("[stopped]")
    terminal.say("/help")
    terminal.wait_for("/system TEXT")
    terminal.say("/quit")
    assert terminal.wait_exit() == 0
    history = tmp_path / "chat_history"
    assert "good morning" in history.read_text()
    assert history.stat().st_mode & 0o077 == 0
    server.wait_for(lambda: any(record["outcome"] == "cancelled" for record in server.records()))


def test_ctrl_d_leaves(terminal: Terminal) -> None:
    terminal.wait_for(PROMPT)
    os.write(terminal.descriptor, b"\x04")
    assert terminal.wait_exit() == 0
