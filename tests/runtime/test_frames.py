import pytest
from hypothesis import given
from hypothesis import strategies as st

from quintet.core import errors
from quintet.core.content import Audio, Image, Message
from quintet.core.events import (
    Alternative,
    Event,
    Finished,
    Media,
    Prefill,
    Progress,
    PromptToken,
    Segment,
    Stopped,
    Token,
    Tokenized,
    TokenSpan,
    Usage,
    Word,
)
from quintet.core.models import Model
from quintet.core.requests import (
    AnimationRequest,
    ImageRequest,
    Limits,
    Lora,
    Sampling,
    TextRequest,
    TokenizeRequest,
    TranscriptionRequest,
)
from quintet.runtime import frames
from quintet.runtime.frames import FrameBuffer, FrameError

REQUESTS = [
    TextRequest(
        model="m",
        messages=(Message("user", ("hello", Image(data=b"\0\xff"))),),
        sampling=Sampling(seed=3, logit_bias=((1, -0.5),)),
        limits=Limits(stop=("a", "b")),
    ),
    TokenizeRequest(model="m", prompt="x"),
    ImageRequest(model="m", prompts=("x",), loras=(Lora(name="l", weight=0.5),), source=Image(data=b"1")),
    AnimationRequest(model="m", prompt="x", frames=3),
    TranscriptionRequest(model="m", audio=Audio(data=b"123")),
]
EVENTS: list[Event] = [
    Token(0, 5, " grün", False, -0.5, b" gr\xc3", (Alternative(1, b"\xff", -1.0),)),
    Stopped(1, "eos", None),
    Finished(usage=Usage(prompt_tokens=3), seed=2**63),
    Prefill((PromptToken(1, "a"), PromptToken(2, "b", -0.1))),
    Tokenized((TokenSpan(1, "a", 0, 1),), "a"),
    Progress("denoise", 1, 2, b"x"),
    Media("image/png", b"\0", "text"),
    Segment(0.0, 1.5, "hi", (Word(0, 1, "hi", 0.5),), "en"),
]


def bodies(data):
    return list(FrameBuffer().feed(data))


@pytest.mark.parametrize("request_", REQUESTS, ids=lambda request: type(request).__name__)
def test_requests_arrive_as_they_were(request_):
    (body,) = bodies(frames.submit_frame(7, request_))
    message = frames.decode_to_worker(body)
    assert isinstance(message, frames.Submit)
    assert message.request_id == 7
    assert frames.decode_request(message) == request_
    by_parts = frames.Submit(7, message.kind, frames.encode_value(request_))
    assert frames.submit_frame(7, request_) == frames.frame(by_parts)


def test_a_request_larger_than_a_frame_is_refused(monkeypatch):
    size = len(frames.submit_frame(7, REQUESTS[0])) - 4
    monkeypatch.setattr(frames, "MAX_FRAME_BYTES", size)
    assert frames.submit_frame(7, REQUESTS[0])
    monkeypatch.setattr(frames, "MAX_FRAME_BYTES", size - 1)
    with pytest.raises(FrameError):
        frames.submit_frame(7, REQUESTS[0])


def test_events_arrive_as_they_were_and_in_order():
    (body,) = bodies(frames.batch_frame([(number, event) for number, event in enumerate(EVENTS)]))
    message = frames.decode_from_worker(body)
    assert isinstance(message, frames.Batch)
    assert [number for number, _, _ in message.outputs] == list(range(len(EVENTS)))
    assert [frames.decode_output(kind, value) for _, kind, value in message.outputs] == EVENTS


@pytest.mark.parametrize("kind", errors.all_errors())
def test_every_error_arrives_as_itself(kind):
    sent = kind("It broke.", code="c", param="p", retry_after=2.5, facts={"n": 1})
    (body,) = bodies(frames.batch_frame([(1, sent)]))
    message = frames.decode_from_worker(body)
    assert isinstance(message, frames.Batch)
    ((_, tag, value),) = message.outputs
    received = frames.decode_output(tag, value)
    assert isinstance(received, errors.QuintetError)
    assert type(received) is kind
    assert (received.message, received.code, received.param) == ("It broke.", "c", "p")
    assert (received.retry_after, received.facts) == (2.5, {"n": 1})


def test_only_our_errors_are_made():
    for name in ("SystemExit", "os.system", "", "Exception"):
        assert type(frames.error_of(frames.Fault(name, "m", "c"))) is errors.EngineFailed


def test_control_messages():
    model = Model(name="m", task="text", engine="e", options={"a": 1, "b": True, "c": 0.5, "d": "x"})
    for message in (frames.Open(model, "a:b", 20.0), frames.Cancel(3), frames.Quit()):
        (body,) = bodies(frames.frame(message))
        assert frames.decode_to_worker(body) == message
        with pytest.raises(FrameError):
            frames.decode_from_worker(body)
    (body,) = bodies(frames.frame(frames.Broken()))
    assert frames.decode_from_worker(body) == frames.Broken()


@given(st.lists(st.integers(0, 7), max_size=8), st.integers(1, 50))
def test_cutting_does_not_depend_on_the_pieces(chosen, size):
    sent = [frames.batch_frame([(1, EVENTS[index])]) for index in chosen]
    stream, buffer, found = b"".join(sent), FrameBuffer(), []
    for start in range(0, len(stream), size):
        found.extend(buffer.feed(stream[start : start + size]))
    assert found == [each[4:] for each in sent]


@given(st.binary(max_size=300))
def test_garbage_is_a_frame_error_and_nothing_else(data):
    buffer = FrameBuffer()
    try:
        for body in buffer.feed(data):
            message = frames.decode_from_worker(body)
            if isinstance(message, frames.Batch):
                for _, kind, value in message.outputs:
                    frames.decode_output(kind, value)
    except FrameError:
        pass


@given(st.integers(-20, 20), st.binary(max_size=40))
def test_garbage_inside_a_batch(kind, value):
    try:
        frames.decode_output(kind, frames.RawValue(value))
    except FrameError:
        return
    assert 0 <= kind < len(frames.EVENT_TYPES)


def test_absurd_length_is_refused_before_anything_is_stored():
    with pytest.raises(FrameError):
        bodies(b"\xff\xff\xff\xff" + b"x" * 10)
    frames.MAX_FRAME_BYTES, old = 10, frames.MAX_FRAME_BYTES
    try:
        with pytest.raises(FrameError):
            frames.batch_frame([(1, EVENTS[0])])
    finally:
        frames.MAX_FRAME_BYTES = old
