"""The rows about pictures of the corpus of bad bodies (reliability 6.4, B-41 … B-52): every knob on every way in.

A limit that holds on one route and is missing on its sibling is how such limits usually fail.
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from tests.e2e.corpus import CHAT, SECRET, Case
from tests.media.pictures import PNG_START, chunk, jpeg_header, png, png_header

IDEFICS, MANAGER, MARKUP = (
    "/v1/multimodal/generations/idefics",
    "/generate/fromimagetext",
    "/echo-vision/generate",
)
MODEL = "echo-vision"
CODE = "image_decode_failed"
FORM = (("content-type", "multipart/form-data; boundary=XbX"),)

Body = Callable[[list[str]], Any]
"""A good body with these pictures, as this way in writes them."""


def chat(urls: list[str]) -> Any:
    parts: list[Any] = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    parts.append({"type": "text", "text": SECRET})
    return {"model": MODEL, "messages": [{"role": "user", "content": parts}], "max_tokens": 2}


def markdown(urls: list[str]) -> Any:
    return {"inputs": SECRET + "".join(f"![{SECRET}]({url})" for url in urls)}


def tags(encoded: list[str]) -> Any:
    return {"inputs": SECRET + "".join(f"<image>{each}</image>" for each in encoded)}


def idefics(encoded: list[str]) -> Any:
    return {"modelName": MODEL, "prompts": ["<image>" * len(encoded) + SECRET], "images": [encoded]}


def links(urls: list[str]) -> Any:
    return {"model_name": MODEL, "prompt": SECRET, "image_links": urls}


def files(encoded: list[str]) -> Any:
    return {"model_name": MODEL, "prompt": SECRET, "image_files": encoded}


def form(contents: Iterable[bytes]) -> bytes:
    """The same as a form with files."""
    head = b'--XbX\r\nContent-Disposition: form-data; name="'
    texts = {b"model_name": MODEL.encode(), b"prompt": SECRET.encode()}
    body = b"".join(head + name + b'"\r\n\r\n' + value + b"\r\n" for name, value in texts.items())
    file = head + b'image_files"; filename="../' + SECRET.encode() + b'.png"\r\n\r\n'
    return body + b"".join(file + content + b"\r\n" for content in contents) + b"--XbX--\r\n"


WITH_URLS: tuple[tuple[str, Body], ...] = ((CHAT, chat), (MARKUP, markdown), (MANAGER, links))
WITH_BASE64: tuple[tuple[str, Body], ...] = ((MARKUP, tags), (IDEFICS, idefics), (MANAGER, files))


def picture(row: str, data: bytes) -> Iterator[Case]:
    """One bad file on every way in."""
    encoded = base64.b64encode(data).decode()
    yield from written(row, encoded)
    yield Case(row, MANAGER, form([data]), headers=FORM)


def written(row: str, encoded: str) -> Iterator[Case]:
    """One bad piece of base64 on every way in that has base64."""
    for path, body in WITH_URLS:
        yield _case(row, path, body([f"data:image/png;base64,{encoded}"]))
    for path, body in WITH_BASE64:
        yield _case(row, path, body([encoded]))


def _case(row: str, path: str, body: Any) -> Case:
    return Case(row, path, body, code=CODE if path.startswith("/v1/") else None)


def bad_files() -> Iterator[Case]:
    for width, height in ((1, 1), (10_000, 1)):
        yield from picture("B-41", png(size=(width, height)))
    yield from picture("B-41", png_header(0, 0))
    yield from picture("B-42", png_header(30_000, 30_000))
    yield from picture("B-42", jpeg_header(65_000, 65_000))
    svg = f'<svg xmlns="http://www.w3.org/2000/svg"><text>{SECRET}</text></svg>'.encode()
    for data in (b"GIF89a" + bytes(99), svg, b"II*\0" + bytes(99), b"SIMPLE  =                    T"):
        yield from picture("B-43", data)
    broken = PNG_START + chunk(b"IHDR", struct.pack(">IIBBBBB", 64, 64, 8, 2, 0, 0, 0))
    yield from picture("B-44", broken + chunk(b"IDAT", SECRET.encode()))
    yield from picture("B-44", png()[:40])


def bad_encodings() -> Iterator[Case]:
    good = base64.b64encode(png()).decode()
    for encoded in ("aGVs!!bG8=", good[:-1] + "=" * 5, good.rstrip("=")[:-2], "_-" * 8, "", SECRET):
        yield from written("B-46", encoded)
    labels = (
        f"data:text/html;base64,{good}",
        f"data:image/svg+xml;base64,{good}",
        f"data:image/png,{SECRET}",
        "data:;base64,",
        f"DATA:{'x' * 10_000};base64,{good}",
    )
    for label in labels:
        for path, body in WITH_URLS + WITH_BASE64:
            yield _case("B-47", path, body([label]))


def bad_counts() -> Iterator[Case]:
    good = base64.b64encode(png()).decode()
    for text in ("<image>", "</image>", f"<image>{good}", f"<image><image>{good}</image>", "<image></image>"):
        yield Case("B-48", MARKUP, {"inputs": SECRET + text})
    yield Case("B-48", MARKUP, {"inputs": f"<image>{good}</image>" * 1000})
    for prompts, images in (
        ([SECRET], []),
        ([SECRET], [[]]),
        ([SECRET], [[good]]),
        (["<image>" + SECRET], [[good, good]]),
        (["<image>" + SECRET, SECRET], [[good]]),
        ([f"<image>{SECRET}"] * 5, [[good]] * 5),
    ):
        yield Case("B-49", IDEFICS, {"modelName": MODEL, "prompts": prompts, "images": images})
    for path, body in WITH_URLS:
        yield Case("B-51", path, body([f"data:image/png;base64,{good}"] * 9))
    for path, body in WITH_BASE64:
        yield Case("B-51", path, body([good] * 9))
    yield Case("B-51", MANAGER, form([png()] * 9), headers=FORM)


def bad_links() -> Iterator[Case]:
    """The whole suite is of the one function that fetches; here is that every way in goes through it."""
    for url in (f"http://127.0.0.1/{SECRET}", "http://2130706433/", "http://a@b.example/", "http://x.y:22/"):
        for path, body in WITH_URLS:
            yield Case("B-52", path, body([url]))
    for path, body in WITH_URLS[::2]:  # in TGI's prompts, markup with any other target is text
        yield Case("B-52", path, body([f"file:///{SECRET}"]))
    for path, body in WITH_BASE64:
        yield _case("B-52", path, body([f"http://127.0.0.1/{SECRET}"]))
    yield Case("B-52", MANAGER, form([b"http://127.0.0.1/"]), headers=FORM)
