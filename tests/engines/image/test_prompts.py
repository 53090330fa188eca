"""Long prompts: read to the end, in windows, or refused."""

from __future__ import annotations

import numpy as np
import pytest

from quintet.core.errors import InvalidRequest
from tests.engines import contract
from tests.engines.image.conftest import ask, files, pixels

LONG = "red dog " * 20
"""Every letter is a token of the tiny models, so that these are 120."""


def draw(engine, *prompts: str, **more) -> np.ndarray:
    (events,) = contract.drive(engine, [ask(*prompts, **more)])
    return pixels(files(events)[0])


@pytest.mark.parametrize("family", ["sd15", "sdxl"])
def test_the_end_of_a_long_prompt_counts(engines, family: str) -> None:
    engine = engines(family)
    one, other = draw(engine, LONG + "cat"), draw(engine, LONG + "cow")
    assert abs(one - other).mean() > 0.01
    assert (one == draw(engine, LONG + "cat")).all()
    negative = draw(engine, LONG + "cat", negative_prompts=(LONG,))
    assert abs(one - negative).mean() > 0.01
    assert abs(draw(engine, "cat", negative_prompts=(LONG,)) - draw(engine, "cat")).mean() > 0.01


def test_one_window_is_read_as_the_pipeline_reads_it(engines) -> None:
    import torch

    from quintet.engines.image.prompts import Words, _read

    brush = engines("sdxl").desk._painter.brush
    words = Words(prompt="a" * 30, second="b" * 40)
    assert brush.reader.embeddings(brush.pipeline, words) == {}
    with torch.no_grad():
        expected, _, pooled, _ = brush.pipeline.encode_prompt(
            words.prompt, words.second, do_classifier_free_guidance=False
        )
    pipeline, counters = brush.pipeline, brush.reader._counters
    parts = [
        _read(encoder, tokenizer, counter.encode(text, add_special_tokens=False).ids, 1, before_last=True)
        for encoder, tokenizer, counter, text in zip(
            (pipeline.text_encoder, pipeline.text_encoder_2),
            (pipeline.tokenizer, pipeline.tokenizer_2),
            counters,
            (words.prompt, words.second),
            strict=True,
        )
    ]
    assert torch.equal(torch.cat([hidden for hidden, _ in parts], -1), expected)
    assert torch.equal(parts[1][1], pooled)


def test_sd3_reads_more_where_more_is_said(engines) -> None:
    from quintet.engines.image.prompts import Words

    reader = engines("sd3").desk._painter.brush.reader
    assert reader.sequence(Words(prompt="a dog")) == {}
    assert reader.sequence(Words(prompt="a" * 300)) == {"max_sequence_length": 512}
    assert engines("schnell").desk._painter.brush.reader.sequence(Words(prompt="")) == {
        "max_sequence_length": 256
    }


@pytest.mark.parametrize(("family", "most"), [("sd15", 1200), ("sd3", 512), ("flux", 512), ("schnell", 256)])
def test_too_long_is_refused_with_the_numbers(engines, family: str, most: int) -> None:
    with pytest.raises(InvalidRequest, match=str(most)) as refusal:
        engines(family).prepare(ask("a dog", "x" * (most + 1)))
    assert refusal.value.param == "prompt"
    assert refusal.value.facts["max_tokens"] == most
    if family == "sd15":
        with pytest.raises(InvalidRequest) as refusal:
            engines(family).prepare(ask(negative_prompts=("x" * (most + 1),)))
        assert refusal.value.param == "negative_prompt"
