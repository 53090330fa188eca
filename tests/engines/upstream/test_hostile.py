"""Foreign servers and commands that mean harm: floods, drips, and processes that try to stay."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time

import pytest
from prometheus_client.parser import text_string_to_metric_families

from quintet.core.content import Message
from quintet.core.errors import EngineFailed, ModelNotFound, NotReady
from quintet.core.events import Alternative, Embedding, Token, ToolCallPart, collect
from quintet.core.requests import Grammar, Limits, Sampling, TextRequest
from quintet.engines.upstream import keeper
from quintet.engines.upstream.body import asking_of
from quintet.engines.upstream.command import Command
from quintet.engines.upstream.exposition import labelled
from quintet.engines.upstream.flavours import FLAVOURS
from quintet.engines.upstream.outbox import CHARACTERS, Outbox
from quintet.engines.upstream.sse import LineCutter
from tests.engines import contract
from tests.engines.upstream.foreign import event, text_chunk
from tests.support.server import is_alive, wait_until


def ask(**fields):
    return TextRequest(model="ours", messages=(Message("user", ("hello",)),), **fields)


def answer(engine, request):
    return collect(contract.drive(engine, [request])[0])


def test_lines_of_no_data_are_counted_too():
    with pytest.raises(EngineFailed):
        list(LineCutter().feed(b"data:\n" * 250_000))
    cutter = LineCutter()
    for _ in range(3):
        assert list(cutter.feed(b"data:" + b" " * 500_000 + b"{}\n\n")) == [{}], "every event begins anew"


def test_a_server_that_takes_connections_and_says_nothing_does_not_hold_up_a_queue(foreign):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/v1"
        engine = foreign.open(url=url, health_seconds=0.5)
        try:
            began = time.monotonic()
            for _ in range(8):
                with pytest.raises(NotReady) as refusal:
                    engine.prepare(ask())
                assert refusal.value.code == "upstream_unreachable"
            assert time.monotonic() - began < 1.5
        finally:
            engine.close()


def test_health_that_drips_is_silence(foreign):
    engine = foreign.open(health_seconds=0.2)
    try:
        assert engine._silent == 0
        foreign.dripping = True
        wait_until(lambda: engine._silent > 1, 5)
    finally:
        engine.close()


@pytest.mark.parametrize(
    "piece",
    [
        text_chunk("x" * 50_000),
        event(
            {
                "choices": [
                    {
                        "index": 0,
                        "delta": {"tool_calls": [{"function": {"name": "f", "arguments": "x" * 50_000}}]},
                    }
                ]
            }
        ),
    ],
)
def test_more_text_than_the_tokens_asked_for_can_hold(foreign, piece):
    engine = foreign.open()
    try:
        foreign.says(piece)
        with pytest.raises(EngineFailed, match="more than it was asked"):
            answer(engine, ask(limits=Limits(max_new_tokens=1)))
    finally:
        engine.close()


@pytest.mark.parametrize(
    "output",
    [
        Token(0, 0, "x" * CHARACTERS),
        Token(0, 0, "", raw=bytes(CHARACTERS)),
        Token(0, 0, "", top=(Alternative(0, bytes(CHARACTERS), 0.0),)),
        ToolCallPart(0, 0, arguments="x" * CHARACTERS),
        Embedding(0, bytes(CHARACTERS)),
    ],
)
def test_whatever_is_large_fills_the_outbox(output):
    async def scene():
        outbox = Outbox(asyncio.get_running_loop())
        await outbox.put("job", Token(0, 0, "small"))
        async with asyncio.TaskGroup() as group:
            put = group.create_task(outbox.put("job", output))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert not put.done()
            assert len(outbox.take(0)) == 2

    asyncio.run(scene())


def test_an_adapter_that_the_server_does_not_know_is_the_callers_mistake(foreign):
    foreign.listing["data"][0]["owned_by"] = "vllm"
    engine = foreign.open()
    try:
        foreign.replies(404)
        with pytest.raises(ModelNotFound, match="no such adapter"):
            answer(engine, ask(adapter="poet"))
    finally:
        engine.close()


def test_words_that_differ_between_servers():
    def body(flavour, **fields):
        return asking_of(ask(**fields), FLAVOURS[flavour], "m", 100).body

    assert body("vllm")["top_k"] == body("llama.cpp")["top_k"] == -1, "off, for old servers too"
    assert body("vllm", sampling=Sampling(top_k=3))["top_k"] == 3
    regex = body("vllm", grammar=Grammar(kind="regex", text="[0-9]+", param="grammar"))
    assert (regex["structured_outputs"], regex["guided_regex"]) == ({"regex": "[0-9]+"}, "[0-9]+")
    assert body("llama.cpp", sampling=Sampling(repetition_penalty=1.2))["repeat_last_n"] == -1
    assert "repeat_last_n" not in body("llama.cpp")
    assert "top_k" not in body("openai")
    assert body("openai")["top_p"] == 1
    assert "top_p" not in body("tgi"), "it refuses 1"
    assert body("tgi", sampling=Sampling(top_p=0.9))["top_p"] == 0.9


def test_metrics_that_would_break_a_scrape_are_left_out():
    """A scraper that can't read one line throws all of them away."""
    good = {
        "# HELP a Words with \\\\ and \\n.": "# HELP a Words with \\\\ and \\n.",
        "# TYPE a histogram": "# TYPE a histogram",
        'a_bucket{le="+Inf"} 3': 'a_bucket{model="ours",le="+Inf"} 3',
        "a_sum +Inf": 'a_sum{model="ours"} +Inf',
        'a_count{model="x",y="\\"}"} 1.5e+06': 'a_count{model="ours",exported_model="x",y="\\"}"} 1.5e+06',
        "c .5 1700000000": 'c{model="ours"} .5',
    }
    bad = [
        "# TYPE b nonsense",
        "# HELP b \\x",
        "b 1.2.3",
        "b Naif",
        "b -",
        "b e",
        "b 1e999",
        "b " + "9" * 400,
        'b{x="1"y="2"} 1',
        'b{x="1",x="2"} 1',
        'b{model="1",exported_model="2"} 1',
        'b{x="\\x"} 1',
        'b{x="\0"} 1',
        'b{x="1"} 1 # {trace="1"} 1',
    ]
    text = labelled("\n".join([*bad, *good, *bad]), "ours")
    assert text.splitlines() == list(good.values())
    assert {family.name for family in text_string_to_metric_families(text)} == {"a", "c"}


def logged(script, capfd):
    command = Command(
        (sys.executable, "-c", script), name="o", secret="sk-secret", environment=dict(os.environ)
    )
    codes = []
    command.when_gone(codes.append)
    wait_until(lambda: codes == [0])
    command.stop()
    return [line.removeprefix("upstream o: ") for line in capfd.readouterr().err.splitlines()]


@pytest.mark.parametrize("before", range(1990, 2010, 3))
def test_no_part_of_a_key_is_logged_where_a_line_is_cut(capfd, before):
    line, after = logged(f"print('x' * {before} + 'sk-secret' + 'y' * 9000); print('after')", capfd)
    assert after == "after"
    assert 1980 < len(line) <= 2000
    assert set(line) <= set("xy*")


def test_no_part_of_a_second_key_is_logged_either(capfd):
    """Hidden keys make a line shorter, and what comes after them moves up."""
    (line,) = logged("print('sk-secret' * 3 + 'x' * 1977 + 'sk-secret' + 'y' * 9000)", capfd)
    assert line == "*********" + "x" * 1974


def test_metrics_of_a_server_that_is_gone_are_not_shown(foreign):
    foreign.metrics_text = "a 1\n"
    engine = foreign.open(health_seconds=0.05)
    try:
        wait_until(engine.metrics)
        foreign.healthy = False
        wait_until(lambda: not engine.metrics())
    finally:
        engine.close()


def test_a_log_that_nobody_reads_any_more_ends_nothing():
    script = (
        "import os; from quintet.engines.upstream.command import write_line\n"
        "ours, theirs = os.pipe(); os.dup2(theirs, 2); os.close(ours)\n"
        "write_line(b'words'); print('goes on')"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, timeout=30)
    assert done.stdout == b"goes on\n"


RUNAWAY = """
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
open({path!r} + ".new", "w").write(f"{{os.getpid()}} {{child.pid}}")
os.rename({path!r} + ".new", {path!r})
time.sleep(60)
"""


@pytest.mark.parametrize("who", ["owner", "command"])
def test_not_even_what_left_the_group_outlives_its_keeper(tmp_path, who):
    path = tmp_path / "pids"
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", keeper.__file__, sys.executable, "-c", RUNAWAY.format(path=str(path))],
        stdin=subprocess.PIPE,
    )
    try:
        wait_until(path.exists)
        pids = [int(pid) for pid in path.read_text().split()]
        if who == "owner":
            process.stdin.close()
        else:
            os.kill(pids[0], signal.SIGKILL)
        process.wait(10)
        assert not any(is_alive(pid) for pid in pids)
    finally:
        process.stdin.close()
        process.wait(10)
