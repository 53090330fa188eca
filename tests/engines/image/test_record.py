"""The text in a picture's file, and the file."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import pytest
from PIL import Image

from quintet.core.requests import Lora


def test_text_is_what_other_tools_read() -> None:
    from quintet import __version__
    from quintet.engines.image.record import Record

    record = Record(
        prompt="a red circle,\nand a dog",
        negative="blur",
        steps=20,
        sampler="DPM++ 2M",
        guidance=7.0,
        seed=2**40,
        size=(512, 768),
        model="my, model",
        model_hash="0123456789abcdef",
        loras=(Lora(name="ink", weight=0.8), Lora(name="wood")),
        lora_hashes={"ink": "fedcba9876543210"},
        strength=0.35,
        more={"Hires steps": "7", "Second prompt": 'a "dog", ü'},
    )
    assert record.text() == (
        "a red circle,\nand a dog\nNegative prompt: blur\n"
        "Steps: 20, Sampler: DPM++ 2M, CFG scale: 7, Seed: 1099511627776, Size: 512x768, Model hash: 0123456789, "
        'Model: "my, model", Denoising strength: 0.35, Hires steps: 7, Second prompt: "a \\"dog\\", ü", '
        'Lora weights: "ink: 0.8, wood: 1", Lora hashes: "ink: fedcba987654", '
        f"Version: Quintet {__version__}"
    )


def test_what_is_not_known_is_left_out() -> None:
    from quintet import __version__
    from quintet.engines.image.record import Record

    assert (
        Record(prompt="a", steps=1, seed=0).text() == f"a\nSteps: 1, Seed: 0, Version: Quintet {__version__}"
    )


@pytest.mark.parametrize(("text", "kind"), [("a dog\nSteps: 1", b"tEXt"), ("ein Hündchen 犬", b"iTXt")])
def test_text_comes_back_from_the_file(text: str, kind: bytes) -> None:
    from quintet.engines.image.record import encode_png

    picture = Image.linear_gradient("L").convert("RGB")
    data = encode_png(picture, text)
    found = Image.open(io.BytesIO(data))
    assert found.info["parameters"] == text
    assert kind in data
    assert found.convert("RGB").tobytes() == picture.tobytes()
    assert encode_png(picture, text) == data


def test_no_text_no_chunk() -> None:
    from quintet.engines.image.record import encode_png

    data = encode_png(Image.new("RGB", (8, 8)), "")
    assert {data[8:][4:8], b"IDAT" in data, b"tEXt" in data, b"tIME" in data} == {b"IHDR", True, False}


def test_hashes_are_of_contents(tmp_path: Path) -> None:
    from quintet.engines.image.record import hash_lora, hash_weights

    one, two = tmp_path / "one", tmp_path / "two"
    one.write_bytes(struct.pack("<Q", 2) + b"{}" + b"numbers")
    two.write_bytes(struct.pack("<Q", 4) + b'{ "}' + b"numbers")
    assert hash_lora(one) == hash_lora(two)
    assert hash_weights([one]) != hash_weights([two])
    assert hash_weights([one, two]) != hash_weights([two, one])
