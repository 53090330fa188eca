"""Every byte on the wire, case by case: tests/golden/<dialect>/<case>.{request,events,stream,whole}.

`pytest tests/dialects --update-golden` rewrites the answers; the diff is read before it is committed.
"""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from quintet.core import events as words
from quintet.core.errors import QuintetError
from quintet.core.events import Event, Outcome
from quintet.dialects.base import Reply
from quintet.dialects.strict_json import parse_json
from tests.dialects.wire import ask, find, stream

GOLDEN = Path(__file__).parent.parent / "golden"
CASES = sorted(path.with_suffix("") for path in GOLDEN.glob("*/*.request"))


def read_events(path: Path) -> list[tuple[int, Event]]:
    """One event per line: [request index, name, fields]."""
    found: list[tuple[int, Event]] = []
    for line in path.read_text().strip("\n").split("\n"):
        index, name, fields = json.loads(line)
        found.append((index, msgspec.convert(fields, getattr(words, name))))
    return found


def show(reply: Reply) -> bytes:
    head = [f"{reply.status} {reply.content_type}", *(f"{name}: {value}" for name, value in reply.headers)]
    return "\n".join(head).encode() + b"\n\n" + reply.body + b"\n"


def answer(case: Path) -> dict[str, bytes]:
    """The golden files of a case as they should be."""
    first, _, raw = case.with_suffix(".request").read_bytes().partition(b"\n")
    path = first.decode().removeprefix("POST ")
    body = None
    try:
        body = parse_json(raw)
        call = ask(path, body)
    except QuintetError as error:
        return {".whole": show(find(path, body)[0].refuse(error))}
    events = read_events(case.with_suffix(".events"))
    outcomes = [Outcome() for _ in call.requests]
    for index, event in events:
        outcomes[index].add(event)
    whole = show(call.renderer.whole(outcomes))
    if "best_of" in case.name:  # neither dialect can stream before it knows which choice is best
        return {".whole": whole}
    return {".whole": whole, ".stream": stream(ask(path, parse_json(raw)), events)}


def test_there_are_cases() -> None:
    assert {case.parent.name for case in CASES} >= {
        "imagine",
        "krutrim",
        "manager",
        "openai",
        "tgi",
        "visioncraft",
    }


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.parent.name}/{case.name}")
def test_golden(case: Path, update_golden: bool) -> None:
    for suffix, content in answer(case).items():
        file = case.with_suffix(suffix)
        if update_golden:
            file.write_bytes(content)
        assert file.read_bytes() == content, f"{file.name} differs; see --update-golden"
