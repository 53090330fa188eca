"""Answers become readable character by character: never half of one, never past a stop string."""

from __future__ import annotations

import codecs
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers

from quintet.core.errors import LoadFailed
from quintet.engines.text.detokenize import Detokenizer
from quintet.engines.text.vocabulary import Vocabulary


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Vocabulary:
    """Byte-level, with some whole words; <|im_end|> ends answers."""
    from tests.support.tiny import make_tokenizer

    directory = tmp_path_factory.mktemp("words")
    make_tokenizer().save_pretrained(directory)
    return Vocabulary(directory)


@pytest.fixture(scope="module")
def pieces(tmp_path_factory: pytest.TempPathFactory) -> Vocabulary:
    """SentencePiece's manner: a leading space in most words, bytes as <0x..>; no special tokens are marked."""
    directory = tmp_path_factory.mktemp("pieces")
    listed = ["<s>", "</s>", "\u2581Hello", "\u2581world", "!", *(f"<0x{byte:02X}>" for byte in range(256))]
    tokenizer = Tokenizer(models.BPE(vocab={piece: id for id, piece in enumerate(listed)}, merges=[]))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")]
    )
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.save(str(directory / "tokenizer.json"))
    (directory / "generation_config.json").write_text(json.dumps({"eos_token_id": [1]}))
    return Vocabulary(directory)


def byte_ids(vocabulary: Vocabulary, text: str) -> list[int]:
    """The finest split there is: one token per byte."""
    of = {vocabulary.raw(id): id for id in range(vocabulary.size) if len(vocabulary.raw(id)) == 1}
    return [of[bytes([byte])] for byte in text.encode()]


def read(
    vocabulary: Vocabulary,
    ids: list[int],
    stop: tuple[str, ...] = (),
    *,
    keep: bool = False,
    skip_special: bool = True,
    continues: bool = False,
) -> tuple[list[str], bool]:
    """The text of every token, the flush at the end included, and whether a stop string ended it."""
    detokenizer = Detokenizer(
        vocabulary, stop=stop, keep_stop=keep, skip_special=skip_special, continues=continues
    )
    shown: list[str] = []
    for id in ids:
        readable = detokenizer.add(id)
        shown.append(readable.text)
        if readable.stopped:
            return shown, True
    return [*shown, detokenizer.finish()], False


characters = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
tricky = st.one_of(
    characters, st.text("aAé€🎉👩🏽‍🚀न\u092e\u0938\u094d\u0924\u0947e\u0301\u200d\ufe0f ", max_size=20)
)


@pytest.mark.parametrize(
    "text", ["🎉", "नमस्ते", "e\u0301", "👩🏽‍🚀 and 🇮🇳", "a€é\u0000\x7f", "hello world 🎉"]
)
def test_characters_come_whole(words: Vocabulary, text: str) -> None:
    shown, _ = read(words, byte_ids(words, text))
    assert "".join(shown) == text
    assert [one for one in shown if one] == list(text)


@given(text=tricky)
def test_text_is_the_same_however_it_is_cut(words: Vocabulary, text: str) -> None:
    for ids in (byte_ids(words, text), words.encode(text, add_special_tokens=False)):
        shown, stopped = read(words, ids, skip_special=False)
        assert "".join(shown) == text
        assert not stopped
        for number in range(len(ids)):
            raw = b"".join(words.raw(id) for id in ids[: number + 1])
            assert "".join(shown[: number + 1]) == raw.decode("utf-8", "ignore")


@given(st.data())
def test_any_ids_decode_as_their_bytes(words: Vocabulary, data: st.DataObject) -> None:
    ids = data.draw(st.lists(st.integers(0, words.size - 1).filter(lambda id: id not in words.special)))
    raw = b"".join(words.raw(id) for id in ids)
    whole = codecs.getincrementaldecoder("utf-8")("replace").decode(raw)
    assert "".join(read(words, ids)[0]) == whole


@given(
    text=st.text("ab🎉\n", max_size=14), stops=st.lists(st.text("ab🎉\n", min_size=1, max_size=4), max_size=3)
)
def test_stop_strings_are_found_across_tokens(words: Vocabulary, text: str, stops: list[str]) -> None:
    ends = [end for end in range(len(text) + 1) if any(stop in text[:end] for stop in stops)]
    begin = min((at for stop in stops if ends and (at := text[: ends[0]].find(stop)) >= 0), default=len(text))
    for keep in (False, True):
        shown, stopped = read(words, byte_ids(words, text), tuple(stops), keep=keep)
        assert stopped == bool(ends)
        if stopped:
            assert "".join(shown) == (text[: ends[0]] if keep else text[:begin])
        else:
            assert "".join(shown) == text


def test_nothing_that_may_be_cut_off_is_shown(words: Vocabulary) -> None:
    ids = byte_ids(words, "one STOX STOP two")
    assert read(words, ids, ("STOP",)) == ([*"one ", *["", "", "", "STOX"], " ", "", "", "", ""], True)
    shown, stopped = read(words, ids, ("STOP",), keep=True)
    assert (shown, stopped) == ([*"one STOX STOP"], True)


def test_what_was_held_comes_at_the_end(words: Vocabulary) -> None:
    ids = byte_ids(words, "one STO")
    assert read(words, ids, ("STOP", "TOO"))[0] == [*"one ", "", "", "", "STO"]
    assert read(words, ids, ("STOP",), keep=True)[0] == [*"one STO", ""]


def test_half_a_character_at_the_end_is_dropped(words: Vocabulary) -> None:
    ids = byte_ids(words, "a🎉")[:-1]
    assert read(words, ids)[0] == ["a", "", "", "", ""]
    assert read(words, ids, ("b",))[0] == ["a", "", "", "", ""]


def test_the_earliest_of_several_stop_strings_counts(words: Vocabulary) -> None:
    ids = words.encode("the world of red", add_special_tokens=False)
    for stops in (("of", "world"), ("world", "of"), ("rld of", "world")):
        shown, stopped = read(words, ids, stops)
        assert ("".join(shown), stopped) == ("the ", True)


def test_an_empty_stop_string_stops_nothing(words: Vocabulary) -> None:
    assert read(words, byte_ids(words, "abc"), ("",)) == ([*"abc", ""], False)


def test_special_tokens_are_skipped_or_shown(words: Vocabulary) -> None:
    ids = words.encode("hello<|im_end|>", add_special_tokens=False)
    assert len(ids) == 2
    assert read(words, ids)[0] == ["hello", "", ""]
    assert read(words, ids, skip_special=False)[0] == ["hello", "<|im_end|>", ""]
    # A special token inside a character that comes in pieces doesn't break it.
    first, *rest = byte_ids(words, "🎉")
    assert "".join(read(words, [first, ids[1], *rest])[0]) == "🎉"
    assert read(words, ids, ("<|im_end|>",), skip_special=False) == (["hello", ""], True)


def test_a_leading_space_belongs_to_the_first_word_alone(pieces: Vocabulary) -> None:
    ids = [2, 3, 4]
    assert "".join(read(pieces, ids)[0]) == "Hello world!" == pieces.tokenizer.decode(ids)
    assert "".join(read(pieces, ids, continues=True)[0]) == " Hello world!"


def test_bytes_of_unknown_characters(pieces: Vocabulary) -> None:
    ids = [2, *byte_ids(pieces, "🎉"), 3]
    assert read(pieces, ids)[0] == ["Hello", "", "", "", "🎉", " world", ""]


def test_a_token_that_ends_answers_is_special(pieces: Vocabulary) -> None:
    assert pieces.eos == {1}
    assert read(pieces, [4, 1])[0] == ["!", "", ""]


def test_raw_bytes_of_ids_outside_the_vocabulary(words: Vocabulary) -> None:
    assert words.raw(-1) == words.raw(words.size) == b""
    assert all(words.raw(id) for id in range(words.size))


def test_a_directory_without_a_tokenizer(tmp_path: Path) -> None:
    with pytest.raises(LoadFailed, match=r"tokenizer\.json"):
        Vocabulary(tmp_path)


def test_spans_cover_the_text(words: Vocabulary) -> None:
    text = "hello world, hello 🎉"
    spans = words.spans(text, add_special_tokens=True)
    assert [span.id for span in spans] == words.encode(text, add_special_tokens=True)
    covered = {at for span in spans for at in range(span.start, span.end)}
    assert covered == set(range(len(text)))
    assert all(span.text == text[span.start : span.end] for span in spans)
