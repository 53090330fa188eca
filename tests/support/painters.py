"""A server that draws with the echo engine, under the names that VisionCraft's documents have, and needs keys."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from PIL import Image

from quintet.core.samplers import SAMPLERS
from quintet.store.keys import open_key_store
from tests.support.server import RunningServer

MODELS = """
[painter]
task = "image"
engine = "echo"
aliases = ["deliberate-two"]
loras = { add_detail = "add_detail.safetensors", analog = "analog.safetensors" }
"""
ALIASES = dict.fromkeys(("sdxl-base", "deliberate_v2"), "painter")
LISTS = {
    "models": ["echo-image", "painter"],
    "models-llm": ["echo", "echo-vision"],
    "models-upscale": ["echo-upscale"],
    "samplers": list(SAMPLERS),
    "loras": ["add_detail", "analog"],
}
"""What the lists have at least."""
WRONG = "qt_0000000000_" + "0" * 43
"""A key that nobody has."""


@dataclass(frozen=True)
class PaintersHouse:
    """The server, and a key for it."""

    server: RunningServer
    key: str


@contextmanager
def open_painters_house(home: Path) -> Iterator[PaintersHouse]:
    """Start one; requests from this machine count as anybody's."""
    (home / "models").mkdir()
    (home / "models" / "painter.toml").write_text(MODELS)
    for name in LISTS["loras"]:
        (home / "models" / f"{name}.safetensors").write_bytes(b"\2\0\0\0\0\0\0\0{}")
    with RunningServer.start(
        home,
        default_image_model="painter",
        default_animation_model="echo-animation",
        default_upscaler="echo-upscale",
        aliases=json.dumps(ALIASES),
        auth__local="false",
        auth__trusted_proxies='["127.0.0.1"]',
    ) as server:
        store = open_key_store(home / "quintet.db", home / "pepper")
        key = store.create("ada")
        store.database.close()
        yield PaintersHouse(server, key)


def look(file: bytes) -> Image.Image:
    """The picture that a file really holds."""
    image = Image.open(BytesIO(file))
    image.load()
    return image


def draw(size: tuple[int, int] = (48, 32)) -> bytes:
    """A PNG of noise, which is about as large as a file of that size gets."""
    buffer = BytesIO()
    Image.effect_noise(size, 90).save(buffer, "PNG")
    return buffer.getvalue()
