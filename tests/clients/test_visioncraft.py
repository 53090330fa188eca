"""VisionCraft's Python client, and its document's snippets, with only host and key replaced."""

from __future__ import annotations

import base64
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.clients import run_script
from tests.support.painters import LISTS, WRONG, PaintersHouse, draw, look, open_painters_house


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PaintersHouse]:
    with open_painters_house(tmp_path_factory.mktemp("home")) as opened:
        yield opened


# ---------------------------------------------------------------------------------------------------- the document


CURL = {
    "sd": """{
            "model": "sdxl-base",
            "prompt": "Beautiful landscape",
            "negative_prompt": "bad quality",
            "token": "your_api_key",
            "sampler": "Euler",
            "steps": 30,
            "width": 1024,
            "height": 1024,
            "cfg_scale": 7,
            "loras": {}
        }""",
    "text2gif": """{
            "token": "your_api_key",
            "prompt": "A cat playing with a ball of yarn"
        }""",
}


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl here")
@pytest.mark.parametrize("path", CURL)
def test_curl(house: PaintersHouse, path: str) -> None:
    script = rf"""
    curl -s -X POST "{house.server.url}/{path}" \
         -H "Content-Type: application/json" \
         --max-time 0 \
         -d '{CURL[path].replace("your_api_key", house.key)}'
    """
    done = subprocess.run(["bash", "-c", script], capture_output=True, timeout=30, check=True)
    image = look(done.stdout)
    if path == "sd":
        assert (image.format, image.size) == ("PNG", (1024, 1024))
    else:
        assert (image.format, getattr(image, "n_frames", 1)) == ("GIF", 4)


def test_aiohttp(house: PaintersHouse) -> None:
    script = """
    import aiohttp
    import asyncio
    import base64

    async def generate(api_url, path, data) -> bytes:
        timeout = aiohttp.ClientTimeout(total=None)  # Disable timeout
        async with aiohttp.ClientSession(timeout=timeout) as session:
            async with session.post(f"{api_url}/{path}", json=data) as response:
                return await response.read()

    async def main():
        data = {
            "model": "sdxl-base",
            "prompt": "Beautiful landscape",
            "token": api_key,
            "sampler": "Euler",
            "steps": 30,
            "width": 1024,
            "height": 1024,
            "cfg_scale": 7,
            "loras": {}
        }
        image = await generate(api_url, "sd", data)
        data = {"token": api_key, "prompt": "A cat playing with a ball of yarn"}
        gif = await generate(api_url, "text2gif", data)
        async with aiohttp.ClientSession() as session:
            async with session.get(f'{api_url}/models-llm') as response:
                models = await response.json()
        return [base64.b64encode(file).decode() for file in (image, gif)] + [models]

    result = asyncio.run(main())
    """
    image, gif, models = run_script("tgi", script, api_url=house.server.url, api_key=house.key)
    assert look(base64.b64decode(image)).size == (1024, 1024)
    assert look(base64.b64decode(gif)).format == "GIF"
    assert "echo" in models


NODE_FETCH = """
// What the document's snippets use of node-fetch 2, over the fetch that node brings along.
module.exports = async (url, { timeout, ...init } = {}) => {
    const response = await fetch(url, init);
    response.buffer = async () => Buffer.from(await response.arrayBuffer());
    return response;
};
"""
NODE = """
const fetch = require('node-fetch');
const fs = require('fs');

async function generate(apiUrl, data) {
    const response = await fetch(apiUrl, {
        method: 'POST',
        headers: {
            'Content-Type': 'application/json'
        },
        body: JSON.stringify(data),
        timeout: 0  // Disable timeout
    });
    const buffer = await response.buffer();
    return buffer;
}

async function main() {
    const [apiUrl, apiKey] = process.argv.slice(2);
    const imageBuffer = await generate(`${apiUrl}/sd`, {
        "model": "sdxl-base",
        "prompt": "Beautiful landscape",
        "token": apiKey,
        "sampler": "Euler",
        "steps": 30,
        "width": 1024,
        "height": 1024,
        "cfg_scale": 7,
        "loras": {}
    });
    fs.writeFileSync('generated_image.png', imageBuffer);
    const gifBuffer = await generate(`${apiUrl}/text2gif`, {
        "token": apiKey,
        "prompt": "A cat playing with a ball of yarn"
    });
    fs.writeFileSync('generated_gif.gif', gifBuffer);
}

main();
"""


@pytest.mark.skipif(shutil.which("node") is None, reason="there is no node here")
def test_node(house: PaintersHouse, tmp_path: Path) -> None:
    package = tmp_path / "node_modules" / "node-fetch"
    package.mkdir(parents=True)
    (package / "index.js").write_text(NODE_FETCH)
    (tmp_path / "snippet.js").write_text(NODE)
    subprocess.run(["node", "snippet.js", house.server.url, house.key], cwd=tmp_path, timeout=30, check=True)
    assert look((tmp_path / "generated_image.png").read_bytes()).size == (1024, 1024)
    assert look((tmp_path / "generated_gif.gif").read_bytes()).format == "GIF"


# -------------------------------------------------------------------------------------------------- the older client


CLIENT = """
import asyncio, base64
from VisionCraftAPI import VisionCraftClient
from VisionCraftAPI.exceptions import *
VisionCraftClient.API_HOST = api_host
client = VisionCraftClient(api_key)
def encoded(file): return base64.b64encode(file).decode()
"""


@pytest.fixture
def client(house: PaintersHouse) -> Callable[..., Any]:
    """Runs lines with `client` of VisionCraftAPI 1.0.8; only its host is another."""

    def run(lines: str, key: str = "", **names: str) -> Any:
        return run_script(
            "visioncraft", CLIENT + lines, api_host=house.server.url, api_key=key or house.key, **names
        )

    return run


def test_the_clients_lists(client: Callable[..., Any]) -> None:
    lists = client(
        """
async def main():
    return [
        await client.get_models(), await client.get_xl_models(), await client.get_llm_models(),
        await client.get_upscale_models(), await client.get_samplers(), await client.get_xl_samplers(),
        await client.get_loras(), await client.get_xl_loras(), await client.get_i2i_schedulers(),
        await client.get_i2i_refiners(),
    ]
result = asyncio.run(main())
"""
    )
    models, xl_models, texts, upscalers, samplers, xl_samplers, loras, xl_loras, schedulers, refiners = lists
    assert models == xl_models
    assert set(LISTS["models"]) <= set(models)
    assert set(LISTS["models-llm"]) <= set(texts)
    assert set(LISTS["models-upscale"]) <= set(upscalers)
    assert samplers == xl_samplers == schedulers == LISTS["samplers"]
    assert loras == xl_loras
    assert set(LISTS["loras"]) <= set(loras)
    assert refiners[0] == "no_refiner"


def test_the_clients_pictures(house: PaintersHouse, client: Callable[..., Any], tmp_path: Path) -> None:
    """Pictures of more than 64 KiB go in with the key beside them."""
    large = draw((400, 320))
    assert len(large) > 100_000
    (tmp_path / "large.png").write_bytes(large)
    links, xl_links, gif, larger, anew = client(
        """
async def main():
    with open(picture, "rb") as file:
        large = file.read()
    return [
        await client.generate_image("a cat", "deliberate_v2", "Euler a", image_count=2, loras={"add_detail": 1}),
        await client.generate_xl_image("a cat", "sdxl-base", "DPM++ 2M Karras", width=512, height=512),
        await client.generate_gif("a cat", "Euler"),
        encoded(await client.image_upscaling(large, "echo-upscale", 4)),
        encoded(await client.image2image(large, "a dog", "DDIM", "no_refiner", steps=20)),
    ]
result = asyncio.run(main())
""",
        picture=str(tmp_path / "large.png"),
    )
    assert len(links) == 2
    for link, size in (*((link, (1024, 1024)) for link in links), (xl_links[0], (512, 512)), (gif, (64, 64))):
        path = link.removeprefix(house.server.url)
        found = house.server.ask("GET", path)
        assert look(found.body).size == size
        assert found.headers["content-type"] == ("image/gif" if link == gif else "image/png")
    assert look(base64.b64decode(larger)).size == (1600, 1280)
    assert look(base64.b64decode(anew)).size == (400, 320)


def test_the_clients_errors(client: Callable[..., Any]) -> None:
    found = client(
        """
async def caught(call):
    try:
        await call
    except Exception as error:
        return [type(error).__name__, getattr(error, "param", None)]

async def main():
    stranger = VisionCraftClient(wrong)
    return [await caught(call) for call in (
        stranger.generate_image("a cat", "painter", "Euler"),
        stranger.image_upscaling("http://example.com/a.png", "echo-upscale"),
        client.generate_image("a cat", "painted", "Euler"),
        client.generate_xl_image("a cat", "painter", "Oiler"),
        client.generate_image("a cat", "painter", "Euler", loras={"less_detail": 1}),
        client.generate_image("a cat", "painter", "Euler", image_count=6),
        client.image_upscaling(b"no picture", "echo-upscale"),
        client.generate_gif("a cat !refuse", "Euler"),
    )]
result = asyncio.run(main())
""",
        wrong=WRONG,
    )
    assert found == [
        ["InvalidAPIKey", None],
        ["InvalidAPIKey", None],
        ["InvalidParam", "model"],
        ["InvalidParam", "sampler"],
        ["InvalidParam", "loras"],
        ["HTTPError", None],
        ["HTTPError", None],
        ["HTTPError", None],
    ]
