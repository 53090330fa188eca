import io
import struct
import wave
import zlib

import pytest

from quintet.core.content import Audio, Image, Message
from quintet.core.errors import ContextTooLong, EngineFailed, InvalidRequest, QuintetError, Unsupported
from quintet.core.events import Media, Progress, Segment, Tokenized, collect
from quintet.core.models import Model
from quintet.core.requests import (
    AnimationRequest,
    Detail,
    EmbeddingRequest,
    ImageRequest,
    Limits,
    Sampling,
    TextRequest,
    TokenizeRequest,
    TranscriptionRequest,
    UpscaleRequest,
)
from quintet.engines.echo.engine import open_engine
from quintet.engines.echo.pictures import gif, png
from tests.engines import contract

TEXT = Model(name="echo", task="text", engine="echo", context_length=512)
SEED = Sampling(temperature=0.8, seed=7)


def ask(words, **fields):
    return TextRequest(model="echo", messages=(Message("user", (words,)),), **fields)


def recording(seconds):
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(8000)
        writer.writeframes(b"\0\0" * int(8000 * seconds))
    return Audio(data=file.getvalue())


REQUESTS = [
    ("text", ask("one two three")),
    ("text", ask("one two three", n=3, best_of=3)),
    ("text", ask("one two three", limits=Limits(max_new_tokens=2))),
    ("text", ask("one two three", limits=Limits(max_new_tokens=20, ignore_eos=True, stop=("o t",)))),
    ("text", ask("one two three", detail=Detail(logprobs=True, top_logprobs=5, prefill=True))),
    ("text", TextRequest(model="echo", prompt=("raw prompt",))),
    ("text", TextRequest(model="echo", prompt_ids=(1, 2, 3))),
    ("text", TokenizeRequest(model="echo", prompt="a b c")),
    ("vision", TextRequest(model="echo", prompt=("what is", Image(data=b"x")))),
    ("image", ImageRequest(model="echo", prompts=("red", "green"), images_per_prompt=2)),
    ("animation", AnimationRequest(model="echo", prompt="a wave")),
    ("upscale", UpscaleRequest(model="echo", picture=Image(data=png(3, 2, (1, 2, 3))))),
    ("speech", TranscriptionRequest(model="echo", audio=recording(11), word_timestamps=True)),
    ("embedding", EmbeddingRequest(model="echo", texts=("a b", " ", "c"), dimensions=3)),
    ("embedding", EmbeddingRequest(model="echo", ids=((1, 2, 3), (4,)))),
]


@pytest.mark.parametrize(("task", "request_"), REQUESTS)
def test_grammar_and_cancel(task, request_):
    engine = open_engine(Model(name="echo", task=task, engine="echo"))
    contract.check_grammar(engine, request_)
    contract.check_cancel(engine, request_)


def test_rest_of_the_contract():
    engine = open_engine(TEXT)
    contract.check_seed(engine, ask("one two", sampling=SEED), [ask("three"), ask("four five")])
    contract.check_cancel_spares_others(engine, ask("one two three four"))
    contract.check_close(lambda: open_engine(TEXT))
    contract.check_unsupported(engine, ImageRequest(model="echo", prompts=("red",)))
    contract.check_unsupported(engine, TextRequest(model="echo", prompt=(Image(data=b"x"),)))
    contract.check_unsupported(engine, EmbeddingRequest(model="echo", texts=("red",)))


def run(model, request):
    return collect(contract.drive(open_engine(model), [request])[0])


def test_repeats_the_last_user_message():
    conversation = (
        Message("system", ("be brief",)),
        Message("user", ("first",)),
        Message("assistant", ("first",)),
        Message("user", ("second  question",)),
    )
    outcome = run(TEXT, TextRequest(model="echo", messages=conversation))
    assert outcome.choices[0].text == "second question"
    assert outcome.choices[0].reason == "eos"
    assert outcome.finished.usage.completion_tokens == 2


def test_length_and_cycle():
    short = run(TEXT, ask("one two three", limits=Limits(max_new_tokens=2)))
    assert (short.choices[0].text, short.choices[0].reason) == ("one two", "length")
    endless = run(TEXT, ask("one two", limits=Limits(max_new_tokens=5, ignore_eos=True)))
    assert (endless.choices[0].text, endless.choices[0].reason) == ("one two one two one", "length")


@pytest.mark.parametrize(
    ("stop", "keep", "text"),
    [
        ("o th", False, "one tw"),
        ("o th", True, "one two th"),
        ("one", False, ""),
        ("four", False, "one two three"),
    ],
)
def test_stop_strings_across_tokens(stop, keep, text):
    outcome = run(TEXT, ask("one two three", limits=Limits(stop=(stop,), keep_stop=keep)))
    assert outcome.choices[0].text == text
    assert outcome.choices[0].reason == ("eos" if stop == "four" else "stop")


def test_choices_differ_and_numbered_marks():
    outcome = run(TEXT, ask("one two three", n=2, best_of=2))
    assert [choice.text for choice in outcome.choices] == ["one two three", "two three one"]
    numbered = Model(name="echo", task="text", engine="echo", options={"numbered": True})
    assert run(numbered, ask("r7", limits=Limits(max_new_tokens=3))).choices[0].text == "r7:0 r7:1 r7:2"


def test_tokens_cover_the_text():
    text = "  Grüße,\n welt \n"
    tokenized = run(TEXT, TokenizeRequest(model="echo", prompt=text)).tokenized
    assert isinstance(tokenized, Tokenized)
    assert "".join(token.text for token in tokenized.tokens) == text
    assert all(text[token.start : token.end] == token.text for token in tokenized.tokens)


def test_refusals_name_the_field():
    engine = open_engine(TEXT)
    with pytest.raises(ContextTooLong):
        engine.prepare(ask("word " * 600))
    assert run(TEXT, ask("word " * 600, limits=Limits(truncate=10, max_new_tokens=1))).choices[0].text
    with pytest.raises(InvalidRequest, match="logit_bias"):
        engine.prepare(ask("hello", sampling=Sampling(logit_bias=((1_000_000, 1.0),))))
    with pytest.raises(InvalidRequest, match="prompt"):
        engine.prepare(TextRequest(model="echo", prompt_ids=(-1,)))


def test_never_more_than_the_context_holds():
    outcome = run(TEXT, ask("word", limits=Limits(ignore_eos=True)))
    assert outcome.finished.usage.prompt_tokens + outcome.finished.usage.completion_tokens == 512


def png_pixels(data):
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    position, found = 8, {}
    while position < len(data):
        (length,) = struct.unpack_from(">I", data, position)
        kind = data[position + 4 : position + 8]
        body = data[position + 8 : position + 8 + length]
        assert struct.unpack_from(">I", data, position + 8 + length)[0] == zlib.crc32(kind + body)
        found[kind] = body
        position += 12 + length
    assert [name for name in found if name != b"iTXt"] == [b"IHDR", b"IDAT", b"IEND"]
    width, height = struct.unpack_from(">II", found[b"IHDR"])
    rows = zlib.decompress(found[b"IDAT"])
    assert len(rows) == height * (1 + 3 * width)
    return width, height, rows[1:4]


def test_pictures():
    request = ImageRequest(model="echo", prompts=("red", "blue"), width=48, height=16, steps=3, seed=5)
    model = Model(name="echo", task="image", engine="echo")
    events = contract.drive(open_engine(model), [request])[0]
    assert [event.done for event in events if isinstance(event, Progress)] == [1, 2, 3]
    pictures = [event for event in events if isinstance(event, Media)]
    assert [png_pixels(picture.data)[:2] for picture in pictures] == [(48, 16)] * 2
    assert pictures[0].data != pictures[1].data
    assert collect(events).finished.usage.pixel_steps == 2 * 48 * 16 * 3
    assert run(model, request).media == pictures
    assert png_pixels(png(1, 1, (1, 2, 3))) == (1, 1, b"\1\2\3")


@pytest.mark.parametrize(("scale", "size"), [(None, (6, 4)), (3.0, (9, 6))])
def test_larger_pictures(scale, size):
    request = UpscaleRequest(model="echo", picture=Image(data=png(3, 2, (1, 2, 3))), scale=scale)
    (larger,) = run(Model(name="echo", task="upscale", engine="echo"), request).media
    assert png_pixels(larger.data)[:2] == size


def gif_frames(data):
    """A small reader: the pixel count and colour of every frame."""
    assert data[:6] == b"GIF89a"
    width, height = struct.unpack_from("<HH", data, 6)
    position, frames = 13, []
    while data[position] != 0x3B:
        if data[position] == 0x21:
            _, position = sub_blocks(data, position + 2)
        else:
            assert data[position] == 0x2C
            colour = data[position + 10 : position + 13]
            assert data[position + 16] == 2, "minimum code size"
            pixels, position = sub_blocks(data, position + 17)
            frames.append((unpack_lzw(pixels), colour))
    return width, height, frames


def sub_blocks(data, position):
    """The joined blocks that start at a position, and what comes after them."""
    joined = b""
    while data[position]:
        joined += data[position + 1 : position + 1 + data[position]]
        position += 1 + data[position]
    return joined, position + 1


def unpack_lzw(data):
    """Number of pixels, all of colour 0; fails on a code no decoder could know."""
    bits = int.from_bytes(data, "little")
    size, table, previous, count = 3, {}, None, 0
    while True:
        code = bits & (1 << size) - 1
        bits >>= size
        if code == 4:
            size, table, previous = 3, {0: 1}, None
            continue
        if code == 5:
            return count
        free = 6 + len(table) - 1
        assert code in table or (previous is not None and code == free)
        length = table.get(code, (previous or 0) + 1)
        if previous is not None and free < 4096:
            table[free] = previous + 1
            if free + 1 == 1 << size and size < 12:
                size += 1
        count += length
        previous = length


@pytest.mark.parametrize(("width", "height"), [(1, 1), (3, 1), (64, 64), (100, 37), (512, 512), (2900, 3000)])
def test_gif_of_any_size(width, height):
    data = gif(width, height, [(1, 2, 3), (4, 5, 6)], 10)
    assert gif_frames(data) == (width, height, [(width * height, b"\1\2\3"), (width * height, b"\4\5\6")])


def test_animation_and_speech():
    animation = run(
        Model(name="echo", task="animation", engine="echo"),
        AnimationRequest(model="echo", prompt="a", frames=3),
    )
    assert len(gif_frames(animation.media[0].data)[2]) == 3
    assert animation.finished.usage.frames == 3
    speech = Model(name="echo", task="speech", engine="echo")
    outcome = run(speech, TranscriptionRequest(model="echo", audio=recording(11), word_timestamps=True))
    assert [(segment.start, segment.end) for segment in outcome.segments] == [(0, 5), (5, 10), (10, 11)]
    assert all(isinstance(segment, Segment) and segment.words for segment in outcome.segments)
    assert outcome.finished.usage.audio_seconds == 11
    with pytest.raises(InvalidRequest, match="recording"):
        open_engine(speech).prepare(TranscriptionRequest(model="echo", audio=Audio()))


def test_pace_gives_every_sequence_its_token_in_one_step():
    model = Model(name="echo", task="text", engine="echo", options={"tokens_per_second": 100, "cycle": True})
    engine = open_engine(model)
    for number in range(5):
        engine.submit(number, engine.prepare(ask("tick", limits=Limits(max_new_tokens=4))))
    sizes = []
    while engine.busy():
        outputs = engine.step()
        if outputs:
            sizes.append(len({number for number, _ in outputs}))
    assert sizes == [5, 5, 5, 5]


def test_fault_switches_need_the_option():
    harmless = run(TEXT, ask("one !refuse@1 two"))
    assert harmless.choices[0].text == "one !refuse@1 two"
    dangerous = Model(name="echo", task="text", engine="echo", options={"faults": True})
    engine = open_engine(dangerous)
    engine.submit(1, engine.prepare(ask("one !refuse@1 two")))
    outputs = [output for _ in range(2) for _, output in engine.step()]
    assert not isinstance(outputs[0], QuintetError)
    assert isinstance(outputs[-1], EngineFailed)
    assert not engine.busy()


def test_task_decides_what_is_supported():
    engine = open_engine(Model(name="echo", task="speech", engine="echo"))
    with pytest.raises(Unsupported, match="speech"):
        engine.prepare(ask("hello"))
