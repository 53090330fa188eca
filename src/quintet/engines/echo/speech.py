"""Speech jobs: a recording becomes numbered sentences, one for every few seconds."""

from __future__ import annotations

import io
import wave
from collections.abc import Iterator

from quintet.core.errors import InvalidRequest
from quintet.core.events import Event, Finished, Progress, Segment, Usage, Word
from quintet.core.requests import TranscriptionRequest

SEGMENT_SECONDS = 5.0
_BYTES_PER_SECOND = 32_000
"""Assumed for files that aren't WAV: 16 kHz, 16 bit, mono."""


def speech_job(request: TranscriptionRequest) -> Iterator[list[Event]]:
    """One segment per step."""
    if not request.audio.data:
        raise InvalidRequest("The recording is empty; send an audio file.", param="file")
    seconds = duration_seconds(request.audio.data)
    return _listen(request, seconds)


def duration_seconds(data: bytes) -> float:
    """Length of a recording."""
    try:
        with wave.open(io.BytesIO(data)) as recording:
            return float(recording.getnframes() / recording.getframerate())
    except (wave.Error, EOFError, ZeroDivisionError):
        return len(data) / _BYTES_PER_SECOND


def _listen(request: TranscriptionRequest, seconds: float) -> Iterator[list[Event]]:
    verb = "translated" if request.task == "translate" else "heard"
    language = "en" if request.task == "translate" else request.language or "en"
    count = max(1, -(-int(seconds * 1000) // int(SEGMENT_SECONDS * 1000)))
    for number in range(count):
        start, end = number * SEGMENT_SECONDS, min(seconds, (number + 1) * SEGMENT_SECONDS)
        text = f" Echo {verb} part {number + 1} of {count}."
        words = _words(text, start, end) if request.word_timestamps else ()
        yield [
            Segment(start, end, text, words, language, -0.25, 0.01),
            Progress("transcribe", end, seconds),
        ]
    yield [Finished(usage=Usage(audio_seconds=seconds))]


def _words(text: str, start: float, end: float) -> tuple[Word, ...]:
    spoken = text.split()
    each = (end - start) / len(spoken)
    return tuple(
        Word(start + index * each, start + (index + 1) * each, " " + word, 0.99)
        for index, word in enumerate(spoken)
    )
