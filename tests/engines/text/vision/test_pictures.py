"""Pictures at their places in a prompt, whatever people write; and the engine's use of what it has seen before."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import openvino as ov
import PIL.Image
import pytest
from openvino import opset13 as ops

from quintet.core.content import Image, Message, ToolCall
from quintet.core.errors import InvalidRequest, LoadFailed, QuintetError, Unsupported
from quintet.core.models import Model
from quintet.core.requests import Limits, Sampling, TextRequest, TokenizeRequest, Tool
from quintet.engines.text.engine import open_engine
from quintet.engines.text.pictures import MAX_SPELLED, Placed, keep_last
from quintet.engines.text.template import ChatTemplate
from quintet.engines.text.tools.toolbox import describe
from quintet.engines.text.vision.family import Layout
from tests.conftest import TinyModel, TinyVisionModel
from tests.engines.text.conftest import Driver, Open
from tests.engines.text.vision.seeing import ask, copied, open_driver
from tests.support.tiny_vision import draw


@pytest.fixture(scope="module")
def driver(tiny_vision: Callable[[str], TinyVisionModel]) -> Iterator[Driver]:
    driver = open_driver(tiny_vision("llava"))
    yield driver
    driver.engine.close()


def png(seed: int, field: str = "") -> Image:
    file = io.BytesIO()
    draw(40, 40, seed=seed).save(file, "PNG")
    return Image(data=file.getvalue(), field=field)


def raw(*prompt: str | Image, owner: str = "", count: int = 6, **more: object) -> TextRequest:
    limits = Limits(max_new_tokens=count, ignore_eos=True, **more)
    return TextRequest(
        model="tiny", prompt=prompt, sampling=Sampling(temperature=0), limits=limits, owner=owner
    )


def answer(driver: Driver, request: TextRequest) -> list[int]:
    return [token.id for token in driver.run(request)[0].choices[0].tokens]


def prompt_of(driver: Driver, request: TextRequest) -> list[int]:
    return driver.engine.prepare(request).ids


def test_a_raw_prompt_holds_pictures_where_they_stand(driver: Driver) -> None:
    token = driver.engine.prompts._family.token
    ids = prompt_of(driver, raw("what ", png(1), " and ", png(2)))
    first, second = ids.index(token), len(ids) - ids[::-1].index(token) - 16
    assert ids[first : first + 16] == ids[second : second + 16] == [token] * 16
    assert ids.count(token) == 32
    assert first > 0
    assert second > first + 16
    assert answer(driver, raw("what ", png(1), " and ", png(2))) != answer(
        driver, raw("what ", png(2), " and ", png(1))
    )


def test_a_spelled_placeholder_is_text(driver: Driver) -> None:
    token = driver.engine.prompts._family.token
    spelled = ask([("user", ["an <image> tag, <image><image>", draw(32, 32)])])
    assert prompt_of(driver, spelled).count(token) == 16
    assert prompt_of(driver, raw("<image>")).count(token) == 0
    shown = driver.run(TokenizeRequest(model="tiny", messages=spelled.messages))[0].tokenized
    assert shown is not None
    assert shown.text.count("an <image> tag, <image><image>") == 1
    with pytest.raises(InvalidRequest, match="spell <image>"):
        driver.engine.prepare(raw("<image>" * (MAX_SPELLED + 1)))
    with pytest.raises(InvalidRequest, match="spell <image>"):
        driver.engine.prepare(ask([("user", ["<image>" * 300_000])]))


def test_a_placeholder_spelled_in_pieces_or_in_json_is_text(driver: Driver) -> None:
    token = driver.engine.prompts._family.token
    assert prompt_of(driver, ask([("user", ["the <ima", "ge> tag", draw(32, 32)])])).count(token) == 16
    assert prompt_of(driver, raw("the <ima", "ge> tag", png(1))).count(token) == 16
    placer = driver.engine.prompts._placer
    call = ToolCall("1", "look", '{"at": "\\u003cimage>", "<image>": [1]}')
    tool = Tool(name="look", description="at <image>", parameters='{"title": "\\u003cimage\\u003e"}')
    (said,) = placer.hide([Message("assistant", (), tool_calls=(call,), name="<image>")])
    (shown,) = placer.hide_tools([tool])
    source = (
        "{{ tools | tojson }}{% for m in messages %}{{ m.name }}{{ m.tool_calls | tojson }}"
        "{% for p in m.content %}{{ p }}{% endfor %}{% endfor %}"
    )
    text = ChatTemplate(source).render([said], tools=[describe(shown)])
    assert "<image>" not in text
    assert placer.reveal(text).count("<image>") == 5
    assert token not in placer.encode(text, add_special_tokens=False)
    for spelled in (
        lambda: placer.hide([Message("assistant", (), tool_calls=(call,) * MAX_SPELLED)]),
        lambda: placer.hide_tools([tool] * MAX_SPELLED),
    ):
        with pytest.raises(InvalidRequest, match="spell <image>"):
            spelled()


def test_arguments_that_spell_nothing_stay_as_they_are(driver: Driver) -> None:
    placer = driver.engine.prompts._placer
    for arguments in ('{ "a":1 }', "not json", "[" * 100_000, "9" * 5000):
        message = Message("assistant", ("hm", " so"), tool_calls=(ToolCall("1", "look", arguments),))
        assert placer.hide([message]) == [message]


def test_what_is_no_picture_is_refused_by_its_field(driver: Driver) -> None:
    for data in (b"", b"GIF89a", png(1).data[:20]):
        with pytest.raises(InvalidRequest) as refused:
            driver.engine.prepare(raw(Image(data=data, field="images[0][0]")))
        assert refused.value.param == "images[0][0]"


def test_truncation_never_cuts_a_picture(driver: Driver) -> None:
    request = raw("hello", png(1), "the red circle")
    whole = prompt_of(driver, request)
    token = driver.engine.prompts._family.token
    tail = len(whole) - 1 - whole[::-1].index(token)
    for count in range(1, len(whole)):
        ids = prompt_of(driver, raw("hello", png(1), "the red circle", truncate=count))
        assert ids.count(token) in (0, 16)
        assert ids == whole[-len(ids) :]
        assert len(ids) == count or (len(ids) == len(whole) - tail - 1 and count > len(ids))
    assert answer(driver, raw("hello", png(1), "the red circle", truncate=len(whole) - 1))


def test_a_truncation_that_leaves_nothing_is_refused(driver: Driver) -> None:
    with pytest.raises(InvalidRequest, match="16 tokens") as refused:
        driver.engine.prepare(raw("hello", png(1), truncate=15))
    assert refused.value.param == "truncate"
    assert prompt_of(driver, raw("hello", png(1), truncate=16)) == [driver.engine.prompts._family.token] * 16


def test_keep_last_moves_what_stays() -> None:
    layout = Layout((9, 9))
    placed = [Placed(b"", b"", (1, 1), layout, start, np.array([start, start + 1])) for start in (1, 5)]
    ids, kept = keep_last([0, 9, 9, 3, 4, 9, 9, 7], placed, 6)
    assert ids == [3, 4, 9, 9, 7]
    assert [(one.start, one.slots.tolist()) for one in kept] == [(2, [2, 3])]


def test_the_second_question_about_a_picture_encodes_nothing(driver: Driver) -> None:
    sight = driver.engine.sight
    assert sight is not None
    answer(driver, raw(png(30), "what is the red circle of the world", owner="ann"))
    encoded, computed = sight.encoded, driver.engine.scheduler.prefilled_tokens
    outcome = driver.run(raw(png(30), "what is the red circle of the world and the blue one", owner="ann"))[0]
    assert sight.encoded == encoded
    assert outcome.finished.usage.cached_tokens >= 32, "the same picture is the same prefix"
    assert driver.engine.scheduler.prefilled_tokens - computed < outcome.finished.usage.prompt_tokens


def test_other_pictures_and_other_owners_share_nothing(driver: Driver) -> None:
    text = "what is the red circle of the world and what is the blue one of three"
    alone = answer(driver, raw(png(41), text, owner="bob"))
    for owner, seed in (("bob", 42), ("eve", 41)):
        outcome = driver.run(raw(png(seed), text, owner=owner))[0]
        assert outcome.finished.usage.cached_tokens == 0
        same = [token.id for token in outcome.choices[0].tokens] == alone
        assert same == (seed == 41)


def test_what_was_seen_survives_preemption_without_a_cache(
    tiny_vision: Callable[[str], TinyVisionModel],
) -> None:
    calm = open_driver(tiny_vision("llava"))
    tight = open_driver(tiny_vision("llava"), kv_cache_mb=0, max_batch_tokens=40, picture_cache_mb=0)
    requests = [raw("the ", png(seed), " of", owner=f"o{seed}", count=400) for seed in range(3)]
    try:
        expected = [answer(calm, request) for request in requests]
        found = [[token.id for token in one.choices[0].tokens] for one in tight.run(*requests)]
        assert tight.engine.scheduler.preemptions > 0
        assert found == expected
    finally:
        calm.engine.close()
        tight.engine.close()


def test_several_choices_and_a_cancel_while_waiting_to_be_seen(driver: Driver) -> None:
    sight = driver.engine.sight
    assert sight is not None
    request = TextRequest(
        model="tiny",
        prompt=("a ", png(50)),
        n=3,
        best_of=3,
        sampling=Sampling(seed=1),
        limits=Limits(max_new_tokens=5),
    )
    assert len(driver.run(request)[0].choices) == 3
    before = sight.encoded
    number = driver.submit(raw(png(51)))
    assert driver.engine.busy()
    driver.engine.cancel(number)
    assert not driver.engine.busy()
    assert sight.encoded == before
    assert driver.engine.scheduler.pool.available == driver.engine.scheduler.pool.total


def test_a_picture_that_breaks_while_looked_at_ends_only_its_request(driver: Driver) -> None:
    whole = io.BytesIO()
    PIL.Image.effect_noise((64, 64), 90).convert("RGB").save(whole, "PNG")
    broken = Image(data=whole.getvalue()[:2000], field="inputs")
    driver.next_id += 1
    bad = driver.next_id
    driver.engine.submit(bad, driver.engine.prepare(raw(broken)))
    good = driver.submit(raw("hello ", png(60)))
    errors: list[QuintetError] = []
    while driver.engine.busy():
        for number, output in driver.engine.step():
            if isinstance(output, QuintetError):
                assert number == bad
                errors.append(output)
            else:
                driver.events[number].append(output)
    assert [error.param for error in errors] == ["inputs"]
    assert len(driver.outcome(good).choices[0].tokens) == 6


def test_an_encoder_for_another_language_model_is_refused(
    tiny_vision: Callable[[str], TinyVisionModel], tmp_path: Path
) -> None:
    tiny = tiny_vision("llava")
    directory = copied(tiny.directory, tmp_path / "mixed")
    path = directory / "openvino_vision_embeddings_model.xml"
    encoder = ov.Core().read_model(path)
    rows = encoder.get_results()[0].input_value(0)
    wider = ov.Model([ops.concat([rows, rows], -1)], encoder.get_parameters())
    ov.save_model(wider, tmp_path / "wider.xml", compress_to_fp16=False)
    for suffix in (".xml", ".bin"):
        (tmp_path / "wider").with_suffix(suffix).replace(path.with_suffix(suffix))
    with pytest.raises(LoadFailed, match="don't fit together"):
        open_driver(TinyVisionModel(tiny.reference, tiny.source, directory))


def test_a_text_model_refuses_pictures(drive: Open) -> None:
    engine = drive().engine
    for request in (raw(png(1)), ask([("user", [draw(32, 32)])])):
        with pytest.raises(Unsupported, match="can't see"):
            engine.prepare(request)


def test_a_directory_without_eyes_is_no_model_that_sees(tiny: TinyModel) -> None:
    model = Model(name="tiny", task="vision", engine="text", path=str(tiny.directory))
    with pytest.raises(LoadFailed, match="can't see"):
        open_engine(model)


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        ("{% for m in messages %}{{ m.content }}{% endfor %}", "<image>\nwhat"),
        (
            "{% for m in messages %}{% for p in m.content %}{% if p.type == 'image' %}<image>"
            "{% else %}{{ p.text }}{% endif %}{% endfor %}{% endfor %}",
            "<image>what",
        ),
        (
            "{% for m in messages %}{% for p in m.content | selectattr('type', 'equalto', 'text') %}{{ p.text }}"
            "{% endfor %}{% for p in m.content | selectattr('type', 'equalto', 'image') %}<image>{% endfor %}"
            "{% endfor %}",
            "what<image>",
        ),
    ],
    ids=["strings only", "parts only", "sorted parts only"],
)
def test_templates_get_the_form_they_take(source: str, shown: str, tiny: TinyModel) -> None:
    template = ChatTemplate(source)
    template.learn_pictures("<image>")
    assert template.render([Message("user", (Image(data=b"x"), "what"))]) == shown
    assert template.render([Message("user", ("what",))]) == "what"
