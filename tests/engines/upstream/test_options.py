"""Tables that name a foreign server: what is wrong is said by option, never by value."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from quintet.core.errors import LoadFailed
from quintet.core.models import Model
from quintet.engines.upstream import keeper, open_engine
from quintet.engines.upstream.command import Command, command_environment
from quintet.engines.upstream.options import read_options
from tests.support.server import is_alive, wait_until

KEEPER = str(keeper.__file__)


def model(**options):
    return Model(name="ours", task="text", engine="upstream", options=options)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "`url` or `command`"),
        ({"ulr": "http://h/v1"}, "did you mean `url`"),
        ({"zzz": 1}, "there are url, command"),
        ({"url": 5}, "`url` must be a text"),
        ({"url": "http://h", "start_seconds": True}, "`start_seconds` must be a number"),
        ({"url": "http://h", "start_seconds": -1}, "`start_seconds` must be greater than 0"),
        ({"url": "http://h", "health_failures": 1.5}, "`health_failures` must be a number"),
        ({"url": "file:///etc/passwd"}, "must look like"),
        ({"url": "http://[::1"}, "must look like"),
        ({"url": "http://h:99999"}, "must look like"),
        ({"url": "http:///v1"}, "must look like"),
        ({"url": "http://user:sk-secret@h/v1"}, "must hold no user name"),
        ({"url": "http://h/v1?key=sk-secret"}, "must hold no user name"),
        ({"url": "http://h/v1", "health": "http://elsewhere"}, "`health` must be a path"),
        ({"url": "http://h/v1", "server": "ours"}, "`server` must be one of vllm, llama.cpp, tgi, openai"),
        ({"url": "http://h/v1", "api_key_env": "sk-secret"}, "not the key itself"),
        ({"url": "http://h/v1", "api_key_env": "NOT_SET"}, "is not set"),
        ({"url": "http://h/v1", "api_key_env": "QUINTET_KEY"}, "must not begin with QUINTET_"),
        ({"url": "http://h/v1", "read_seconds": 1e9}, "`read_seconds` must be greater than 0 and less than"),
        ({"url": "http://h/v1", "api_key_env": "ODD"}, "can't be sent"),
        ({"command": "serve 'x"}, "never closed"),
        ({"command": "serve"}, r"must contain \{port\}"),
        ({"command": "''  "}, r"must contain \{port\}"),
    ],
)
def test_mistakes(options, said):
    with pytest.raises(LoadFailed, match=said) as refusal:
        read_options(model(**options), {"ODD": "sk-secret\nx"})
    assert "sk-secret" not in refusal.value.message


def test_what_is_left_out_is_filled():
    found = read_options(model(url="http://127.0.0.1:8001/v1/", api_key_env="KEY"), {"KEY": " sk-1 "})
    assert (found.url, found.root, found.key) == ("http://127.0.0.1:8001/v1", "http://127.0.0.1:8001", "sk-1")
    assert found.health_url == "http://127.0.0.1:8001/v1/models"
    assert found.metrics_url == "http://127.0.0.1:8001/metrics"
    found = read_options(model(command="serve 'two words' --port {port}", metrics="", start_seconds=5), {})
    assert found.command == ("serve", "two words", "--port", str(found.port))
    assert found.url == f"http://127.0.0.1:{found.port}/v1"
    assert found.health_url == f"http://127.0.0.1:{found.port}/health"
    assert found.metrics_url == ""
    found = read_options(model(command="serve {port}", url="http://127.0.0.1:{port}/api", health="/up"), {})
    assert found.health_url == f"http://127.0.0.1:{found.port}/up"


def test_no_shell_reads_a_command():
    found = read_options(model(command="serve $(id) `id` ; rm -rf / | x > y {port}"), {})
    assert found.command[1:9] == ("$(id)", "`id`", ";", "rm", "-rf", "/", "|", "x")


def test_a_command_may_go_online_unless_told_not_to():
    worker = {"PATH": "/bin", "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    assert command_environment(worker, "") == {"PATH": "/bin"}
    assert command_environment(worker, "A, HF_HUB_OFFLINE") == {"PATH": "/bin", "HF_HUB_OFFLINE": "1"}


def test_a_program_that_is_not_there(capfd):
    with pytest.raises(LoadFailed, match="ended before it was ready"):
        open_engine(model(command="/nowhere/serve {port}"))
    assert "upstream ours: the command can't be started: No such file" in capfd.readouterr().err


def test_a_server_that_never_gets_healthy_is_stopped(tmp_path):
    script = f"import os,time; open({str(tmp_path / 'pid')!r},'w').write(str(os.getpid())); time.sleep(60)"
    started = time.monotonic()
    with pytest.raises(LoadFailed, match="healthy in time"):
        open_engine(model(command=f'{sys.executable} -c "{script}" {{port}}', start_seconds=0.6))
    assert time.monotonic() - started < 5
    assert not is_alive(int((tmp_path / "pid").read_text()))


def test_its_words_go_to_the_log_without_the_key(capfd):
    script = "print('key sk-secret', chr(27) + '[31m', 'x' * 5000); import sys; sys.stderr.write('last')"
    command = Command(
        (sys.executable, "-c", script), name="ours", secret="sk-secret", environment=dict(os.environ)
    )
    codes = []
    command.when_gone(codes.append)
    wait_until(lambda: codes == [0])
    command.stop()
    lines = capfd.readouterr().err.splitlines()
    assert lines[0].startswith("upstream ours: key *** ?[31m xxx")
    assert lines[-1] == "upstream ours: last"
    assert all(len(line) < 2100 for line in lines)


FAMILY = """
import os, subprocess, sys, time, signal
if {stubborn}:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
open({path!r} + ".new", "w").write(f"{{os.getpid()}} {{child.pid}}")
os.rename({path!r} + ".new", {path!r})
time.sleep(60)
"""


@pytest.mark.parametrize(("who", "stubborn"), [("owner", False), ("owner", True), ("command", False)])
def test_nothing_outlives_its_keeper(tmp_path, who, stubborn):
    """The command has a child of its own; whoever goes, all go. A stubborn one is killed after the grace."""
    path = tmp_path / "pids"
    script = FAMILY.format(path=str(path), stubborn=stubborn)
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", KEEPER, sys.executable, "-c", script], stdin=subprocess.PIPE
    )
    try:
        wait_until(path.exists)
        pids = [int(pid) for pid in path.read_text().split()]
        began = time.monotonic()
        if who == "owner":
            process.stdin.close()
        else:
            os.kill(pids[0], signal.SIGKILL)
        assert process.wait(10) == 128 + (signal.SIGKILL if stubborn or who == "command" else signal.SIGTERM)
        assert (time.monotonic() - began > keeper.GRACE_SECONDS) == stubborn
        wait_until(lambda: not any(is_alive(pid) for pid in pids), 2)
    finally:
        process.stdin.close()
        process.kill()
        process.wait()


def test_a_killed_keeper_takes_the_command_along(tmp_path):
    path = tmp_path / "pids"
    script = FAMILY.format(path=str(path), stubborn=False)
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", KEEPER, sys.executable, "-c", script], stdin=subprocess.PIPE
    )
    wait_until(path.exists)
    command, child = (int(pid) for pid in path.read_text().split())
    process.kill()
    process.wait()
    process.stdin.close()
    wait_until(lambda: not is_alive(command), 2)
    if is_alive(child):  # only the command itself is bound to its keeper by the kernel
        os.kill(child, signal.SIGKILL)
    assert Path(KEEPER).name == "keeper.py"
