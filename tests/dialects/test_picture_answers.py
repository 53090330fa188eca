"""What callers get to see of pictures on OpenAI's routes: whole, as a stream, by link, and how far the work is."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quintet.core.errors import EngineFailed
from quintet.core.events import Event, Finished, Media, Outcome, Progress, Usage
from quintet.core.requests import ImageRequest
from quintet.dialects.base import Call, Incoming
from quintet.dialects.openai.images import parse_generation
from quintet.engines.echo.pictures import png
from tests.dialects.wire import ask, read_stream

PATH = "/v1/images/generations"
JPEG = b"\xff\xd8\xff\xe0 small"


def read_events(raw: bytes) -> list[tuple[str, Any]]:
    """Name and JSON of every event; the framing is checked."""
    assert not raw or raw.endswith(b"\n\n")
    found = []
    for block in raw.decode().split("\n\n")[:-1]:
        named, data = block.splitlines()
        event = json.loads(data.removeprefix("data: "))
        assert named == f"event: {event['type']}"
        found.append((event["type"].rpartition(".")[2], event))
    return found


def drawing(pictures: int, steps: int, *, seed: int = 7) -> list[Event]:
    """What an engine says that draws one picture after the other, and shows every step."""
    events: list[Event] = []
    for k in range(pictures):
        total = pictures * steps
        events += [Progress("denoise", k * steps + step, total, JPEG) for step in range(1, steps + 1)]
        events.append(Media("image/png", png(16 + 8 * k, 24, (k, 0, 0))))
    usage = Usage(images=pictures, pixel_steps=1000 * pictures, prompt_tokens=4)
    return [*events, Finished(usage=usage, seed=seed)]


def streamed(events: list[Event], **more: Any) -> list[tuple[str, Any]]:
    call = ask(PATH, {"prompt": "x", "stream": True, **more})
    return read_events(b"".join(call.renderer.event(0, event) for event in events) + call.renderer.end())


def whole(events: list[Event], **more: Any) -> Any:
    outcome = Outcome()
    for event in events:
        outcome.add(event)
    reply = ask(PATH, {"prompt": "x", **more}).renderer.whole([outcome])
    assert (reply.status, reply.content_type) == (200, "application/json")
    return json.loads(reply.body)


@pytest.mark.parametrize("response_format", ["b64_json", "url"])
@pytest.mark.parametrize("given_seed", [None, 7])
@settings(max_examples=25, deadline=None)
@given(pictures=st.integers(1, 4), steps=st.integers(1, 6), partials=st.integers(0, 3))
def test_a_stream_folds_to_the_whole(
    response_format: str, given_seed: int | None, pictures: int, steps: int, partials: int
) -> None:
    events = drawing(pictures, steps)
    body = {"n": pictures, "response_format": response_format, "seed": given_seed, "quality": "low"}
    done = [event for kind, event in streamed(events, **body, partial_images=partials) if kind == "completed"]
    expected = whole(events, **body)
    folded = {
        "created": done[0]["created_at"],
        "data": [
            {name: event[name] for name in ("b64_json", "url", "seed") if name in event} for event in done
        ],
        **{name: done[0][name] for name in ("background", "quality", "output_format", "size")},
        "usage": done[-1]["usage"],
    }
    if given_seed is None:  # nobody knows the seed of the first ones before the last
        for early in expected["data"][:-1]:
            del early["seed"]
    assert folded == expected
    for count in ("images", "pixel_steps", "total_tokens"):
        assert sum(event["usage"][count] for event in done) == expected["usage"][count]


def test_the_whole() -> None:
    events = drawing(2, 3)
    files = [event.data for event in events if isinstance(event, Media)]
    assert whole(events, n=2) == {
        "created": 1_700_000_000,
        "data": [
            {"b64_json": base64.b64encode(files[0]).decode(), "seed": 7},
            {"b64_json": base64.b64encode(files[1]).decode(), "seed": 8},
        ],
        "background": "opaque",
        "output_format": "png",
        "size": "16x24",
        "usage": {
            "input_tokens": 4,
            "input_tokens_details": {"text_tokens": 4, "image_tokens": 0},
            "output_tokens": 0,
            "total_tokens": 4,
            "images": 2,
            "pixel_steps": 2000,
        },
    }


def test_links() -> None:
    published: list[Media] = []

    def publish(media: Media) -> str:
        published.append(media)
        return f"https://host/files/{len(published)}"

    body = {"prompt": "x", "model": "m", "n": 2, "response_format": "url"}
    call = parse_generation(Incoming(body=body, publish=publish))
    outcome = Outcome()
    for event in drawing(2, 1):
        outcome.add(event)
    answer = json.loads(call.renderer.whole([outcome]).body)
    assert [entry["url"] for entry in answer["data"]] == ["https://host/files/1", "https://host/files/2"]
    assert published == outcome.media


@pytest.mark.parametrize(
    ("wanted", "steps", "shown"),
    [(0, 8, []), (1, 8, [4]), (2, 9, [3, 6]), (3, 8, [2, 4, 6]), (3, 2, [1, 2]), (1, 1, [1])],
)
def test_partial_pictures_are_spread_over_the_work(wanted: int, steps: int, shown: list[int]) -> None:
    """Of each picture, as even as its steps allow."""
    for pictures in (1, 3):
        call = ask(PATH, {"prompt": "x", "n": pictures, "stream": True, "partial_images": wanted})
        found, step = [], 0
        for event in drawing(pictures, steps):
            step = step + 1 if isinstance(event, Progress) else 0
            for kind, sent in read_events(call.renderer.event(0, event)):
                if kind == "partial_image":
                    found.append((sent["partial_image_index"], step))
        assert found == list(enumerate(shown)) * pictures


def test_a_partial_picture() -> None:
    ((_, sent),) = [
        pair
        for pair in streamed(drawing(1, 4), partial_images=1, size="64x32", quality="low")
        if pair[0] == "partial_image"
    ]
    assert sent == {
        "type": "image_generation.partial_image",
        "b64_json": base64.b64encode(JPEG).decode(),
        "partial_image_index": 0,
        "created_at": 1_700_000_000,
        "size": "64x32",
        "output_format": "jpeg",
        "background": "opaque",
        "quality": "low",
    }


def test_progress_is_told_to_those_who_ask_for_it() -> None:
    events = [Progress("load", 0.5, 2), *drawing(1, 2)]
    assert [kind for kind, _ in streamed(events)] == ["completed"]
    *told, (last, _) = streamed(events, progress=True)
    assert last == "completed"
    assert [event for _, event in told] == [
        {"type": "image_generation.progress", "stage": "load", "done": 0.5, "total": 2},
        {"type": "image_generation.progress", "stage": "denoise", "done": 1, "total": 2},
        {"type": "image_generation.progress", "stage": "denoise", "done": 2, "total": 2},
    ]


def test_all_but_the_last_picture_go_out_at_once() -> None:
    call = ask(PATH, {"prompt": "x", "n": 2, "stream": True})
    picture = Media("image/png", png(8, 8, (1, 2, 3)))
    assert call.renderer.event(0, picture)
    assert not call.renderer.event(0, picture), "it waits for the count"
    assert call.renderer.event(0, Finished())


def test_edits_have_events_of_their_own() -> None:
    body = {"prompt": "x", "image": "data:image/png;base64,aGVsbG8=", "stream": True, "partial_images": 1}
    call = ask("/v1/images/edits", body)
    raw = b"".join(call.renderer.event(0, event) for event in drawing(1, 2))
    assert [event["type"] for _, event in read_events(raw)] == [
        "image_edit.partial_image",
        "image_edit.completed",
    ]


def test_a_broken_stream_looks_broken() -> None:
    (event,) = read_stream(
        ask(PATH, {"prompt": "x", "stream": True}).renderer.failure(EngineFailed("Broken."))
    )
    assert event["error"]["message"] == "Broken."


def test_files_of_other_kinds_keep_their_name() -> None:
    events: list[Event] = [Media("image/webp", b"RIFF"), Finished()]
    answer = whole(events)
    assert (answer["output_format"], answer["size"]) == ("webp", "auto")


def test_calls_share_nothing() -> None:
    calls: list[Call] = [ask(PATH, {"prompt": "x", "stream": True, "partial_images": 1}) for _ in range(2)]
    half: Iterator[bytes] = (call.renderer.event(0, Progress("denoise", 1, 2, JPEG)) for call in calls)
    assert len(set(half)) == 1
    assert isinstance(calls[0].requests[0], ImageRequest)
