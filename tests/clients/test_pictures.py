"""Pictures from other people's clients, as their documents show it, with only host and key replaced.

The server's model repeats what it read, with <image> where it saw a picture.
"""

from __future__ import annotations

import base64
import http.client
import json
import shutil
import subprocess
from collections.abc import Iterator
from io import BytesIO
from typing import Any

import httpx
import openai
import pytest
import requests
from PIL import Image

from tests.clients.conftest import Run
from tests.support.server import RunningServer

ALIASES = dict.fromkeys(("llava", "llava-1.5-7b-hf", "idefics", "llava-1.5-7b-4"), "echo-vision")
IDEFICS = "/v1/multimodal/generations/idefics"
PROMPT_PARTS = [{"type": "image"}, {"type": "text", "text": "What is the city??"}]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with RunningServer.start(
        tmp_path_factory.mktemp("home"),
        default_model="echo-vision",
        default_vision_model="echo-vision",
        aliases=json.dumps(ALIASES),
    ) as running:
        yield running


@pytest.fixture(scope="module")
def client(server: RunningServer) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="local", max_retries=0) as made:
        yield made


def draw(kind: str = "JPEG", size: tuple[int, int] = (48, 32)) -> bytes:
    buffer = BytesIO()
    Image.new("RGB", size, (200, 40, 40)).save(buffer, format=kind)
    return buffer.getvalue()


JPEG = base64.b64encode(draw()).decode()


# ------------------------------------------------------------------------------------ text-generation-inference


def test_llava_next_in_markdown(server: RunningServer) -> None:
    """The hackathon guide: a picture made small, and written into the prompt as markdown."""
    image = Image.open(BytesIO(draw("PNG", (600, 400))))
    max_size = 200
    ratio = min(max_size / image.size[0], max_size / image.size[1])
    image = image.resize(tuple(int(x * ratio) for x in image.size), Image.Resampling.LANCZOS).convert("RGB")
    buffer = BytesIO()
    image.save(buffer, format="JPEG", quality=50)
    base64_image = base64.b64encode(buffer.getvalue()).decode("utf-8")
    image_string = f"data:image/jpeg;base64,{base64_image}"
    query = "List metrics and values in the radar chart for LLaVA-1.5."
    prompt = (
        "<|im_start|>system\nAnswer concisely.<|im_end|><|im_start|>user\n"
        f"![]({image_string})\n{query}<|im_end|><|im_start|>assistant\n"
    )
    headers = {
        "Accept": "application/json",
        "Content-Type": "application/json",
        "Authorization": "Bearer local",
    }
    payload = {"inputs": prompt, "parameters": {"max_new_tokens": 150, "temperature": 0.7}}
    response = requests.post(f"{server.url}/llava/generate", headers=headers, json=payload, timeout=20)
    assert response.status_code == 200, response.text
    assert "<image> List metrics and values" in response.json()["generated_text"]
    assert base64_image[:20] not in response.text


def test_tags_around_base64(server: RunningServer) -> None:
    """The service's own document, and the same from an encoder that breaks lines."""
    for encoded in (JPEG, base64.encodebytes(draw()).decode()):
        payload = {
            "inputs": "<|im_start|>system\nAnalyze the image.\n<|im_end|>\n<|im_start|>user\n"
            f"<image>{encoded}</image>\nDescribe what you see in detail.\n<|im_end|>\n<|im_start|>assistant",
            "parameters": {"max_new_tokens": 200, "temperature": 0.3},
        }
        headers = {"Content-Type": "application/json", "Authorization": "Bearer local"}
        response = requests.post(f"{server.url}/generate", headers=headers, json=payload, timeout=20)
        assert "<image> Describe what you see in detail." in response.json()["generated_text"]


def test_hugging_face(run_in: Run) -> None:
    script = """
    from huggingface_hub import InferenceClient
    url_part = {"type": "image_url", "image_url": {"url": "data:image/jpeg;base64," + picture}}
    messages = [{"role": "user", "content": [url_part, {"type": "text", "text": "What is it?"}]}]
    client = InferenceClient(url)
    result = [
        InferenceClient(url + "/llava/generate").text_generation(
            f"![](data:image/jpeg;base64,{picture})What is it?", max_new_tokens=20
        ),
        client.chat_completion(messages, max_tokens=9).choices[0].message.content,
        "".join(
            chunk.choices[0].delta.content or ""
            for chunk in client.chat_completion(messages, max_tokens=9, stream=True)
        ),
    ]
    """
    assert run_in("hub", script, picture=JPEG) == ["<image> What is it?"] * 3


# --------------------------------------------------------------------------------------------- OpenAI, VisionCraft


@pytest.mark.parametrize("stream", [False, True])
def test_visioncraft_in_python(client: openai.OpenAI, stream: bool) -> None:
    answer: Any = client.chat.completions.create(
        stream=stream,
        model="llava-1.5-7b-hf",
        messages=[
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "What’s in this image?"},
                    {"type": "image_url", "image_url": {"url": f"data:image/jpeg;base64,{JPEG}"}},
                ],
            }
        ],
    )
    if stream:
        text = "".join(chunk.choices[0].delta.content or "" for chunk in answer)
    else:
        text = answer.choices[0].message.content
    assert text == "What’s in this image? <image>"


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl here")
def test_visioncraft_in_curl(server: RunningServer, tmp_path: Any) -> None:
    (tmp_path / "image.png").write_bytes(draw("PNG"))
    script = r"""
    base64_image=$(base64 -w 0 image.png)
    curl -s -X POST "$url/v1/chat/completions" \
         -H "Content-Type: application/json" \
         -H "Authorization: Bearer local" \
         -d '{
                "model": "llava-1.5-7b-hf",
                "messages": [
                    {
                        "role": "user",
                        "content": [
                            { "type": "text", "text": "What’s in this image?" },
                            { "type": "image_url", "image_url": { "url": "data:image/jpeg;base64,'"$base64_image"'" } }
                        ]
                    }
                ]
             }'
    """
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=tmp_path,
        env={"url": server.url, "PATH": "/usr/bin:/bin"},
        capture_output=True,
        timeout=20,
        check=True,
    )
    assert json.loads(done.stdout)["choices"][0]["message"]["content"] == "What’s in this image? <image>"


def test_several_pictures_between_words(client: openai.OpenAI) -> None:
    picture = {"type": "image_url", "image_url": {"url": f"data:image/webp;base64,{JPEG}", "detail": "high"}}
    words = [{"type": "text", "text": text} for text in ("one", "two")]
    content: Any = [picture, words[0], picture, picture, words[1]]
    answer = client.chat.completions.create(
        model="echo-vision", messages=[{"role": "user", "content": content}]
    )
    assert answer.choices[0].message.content == "<image> one <image> <image> two"


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:1/a.png", "http://localhost/a.png", "data:image/png;base64,aGVsbG8="]
)
def test_a_picture_that_is_none(client: openai.OpenAI, url: str) -> None:
    content: Any = [{"type": "text", "text": "?"}, {"type": "image_url", "image_url": {"url": url}}]
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model="echo-vision", messages=[{"role": "user", "content": content}])
    assert caught.value.param == "messages[0].content[1].image_url.url"


def test_a_model_that_does_not_see(client: openai.OpenAI, server: RunningServer) -> None:
    content: Any = [{"type": "image_url", "image_url": {"url": f"data:image/jpeg;base64,{JPEG}"}}]
    with pytest.raises(openai.BadRequestError, match="text only"):
        client.chat.completions.create(model="echo", messages=[{"role": "user", "content": content}])
    body = {"modelName": "echo", "prompts": ["<image>what?"], "images": [[JPEG]]}
    answer = server.ask("POST", IDEFICS, body)
    assert (answer.status, answer.json["error"]["param"]) == (400, "modelName")
    answer = server.ask("POST", "/echo/generate", {"inputs": f"<image>{JPEG}</image>?"})
    assert answer.status == 400
    body = {"model_name": "echo", "prompt": "what?", "image_files": [JPEG]}
    answer = server.ask("POST", "/generate/fromimagetext", body)
    assert (answer.status, answer.json["error"]["param"]) == (400, "model_name")


# -------------------------------------------------------------------------------------------------------- Krutrim


def krutrim(server: RunningServer, **body: Any) -> httpx.Response:
    """What its SDK (0.7.3) puts on the wire: the User-Agent twice, unset fields left out.

    The SDK itself brings 698 MB along, so it is run by hand before releases (docs/dialects/krutrim.md).
    """
    headers = [
        ("Accept", "application/json"),
        ("Content-Type", "application/json"),
        ("User-Agent", "KrutrimCloud/Python 0.7.3"),
        ("User-Agent", "Krutrim-Cloud-Python-SDK/0.7.3"),
        ("X-Krutrim-Cloud-Lang", "python"),
        ("X-Krutrim-Cloud-Package-Version", "0.7.3"),
        ("X-Krutrim-Cloud-Runtime", "CPython"),
        ("X-Krutrim-Cloud-Async", "false"),
        ("Authorization", "Bearer local"),
    ]
    return httpx.post(
        server.url + IDEFICS, headers=headers, json={"modelName": "idefics", **body}, timeout=20
    )


def test_idefics_with_turns(server: RunningServer) -> None:
    prompts = [{"role": "User", "content": PROMPT_PARTS}]
    answer = krutrim(server, prompts=prompts, images=[[JPEG]], maxTokens=50)
    assert answer.json() == {"generated_texts": ["<image> What is the city??"]}
    answer = krutrim(server, prompts=prompts * 4, images=[[JPEG]] * 4)
    assert answer.json() == {"generated_texts": ["<image> What is the city??"] * 4}


def test_idefics_with_strings(server: RunningServer) -> None:
    """The document of SDK 0.4.0: two pictures, each with its question."""
    answer = krutrim(
        server,
        prompts=["<image>  ", "what is the city??", "<image>  ", "what is the name of this bridge??"],
        images=[[JPEG], [], [JPEG], []],
        maxTokens=50,
    )
    assert answer.json() == {
        "generated_texts": ["<image> what is the city??", "<image> what is the name of this bridge??"]
    }


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({"images": [[]]}, 400, "images"),
        ({"images": [[JPEG], []]}, 400, "images"),
        ({"images": [[JPEG, JPEG]]}, 400, "images[0]"),
        ({"images": [["aGVsbG8="]]}, 400, "images[0][0]"),
        ({"modelName": "idefic"}, 404, "modelName"),
    ],
)
def test_idefics_errors(server: RunningServer, body: dict[str, Any], status: int, param: str) -> None:
    good = {"prompts": [{"role": "User", "content": PROMPT_PARTS}], "images": [[JPEG]]}
    answer = krutrim(server, **(good | body))
    assert answer.status_code == status
    assert answer.json()["error"]["param"] == param
    if status == 404:
        assert '"idefics"' in answer.json()["error"]["message"]


# --------------------------------------------------------------------------------------------------- AFAI's manager


def test_from_text(server: RunningServer) -> None:
    body = {"model_name": "llava-1.5-7b-4", "prompt": "Grüße to all", "max_new_tokens": 512}
    response = requests.post(f"{server.url}/generate/fromtext", json=body, timeout=20)
    assert response.text == "Grüße to all"
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    with httpx.stream("POST", f"{server.url}/generate/fromtext", json=body) as streamed:
        assert "".join(streamed.iter_text()) == "Grüße to all"


def test_from_image_text(server: RunningServer) -> None:
    """Its own script sends data URLs as links; its document says files, which only forms can hold."""
    url = f"{server.url}/generate/fromimagetext"
    asked: dict[str, Any] = {"model_name": "llava-1.5-7b-4", "prompt": "What is it?"}
    for more in (
        {"image_links": [f"data:image/jpg;base64,{JPEG}"]},
        {"image_files": [JPEG], "image_links": []},
    ):
        assert requests.post(url, json=asked | more, timeout=20).text == "<image> What is it?"
    files = [
        ("image_files", ("a.jpg", draw(), "image/jpeg")),
        ("image_files", ("b.webp", draw("WEBP"), "image/webp")),
    ]
    data = asked | {"image_links": [f"data:image/png;base64,{JPEG}"], "max_new_tokens": "9"}
    for answer in (
        requests.post(url, data=data, files=files, timeout=20),
        httpx.post(url, data=data, files=files, timeout=20),
        requests.post(
            url,
            params={"model_name": asked["model_name"]},
            data={"prompt": asked["prompt"]},
            files=files * 2,
            timeout=20,
        ),
    ):
        count = 4 if "model_name=" in str(answer.url) else 3
        assert answer.text == "<image> " * count + "What is it?"


def test_from_image_text_errors(server: RunningServer) -> None:
    url = f"{server.url}/generate/fromimagetext"
    asked = {"model_name": "llava-1.5-7b-4", "prompt": "What is it?"}
    gone = requests.post(url, json=asked | {"model_name": "llava-1.5-7b-8"}, timeout=20)
    assert gone.status_code == 404
    assert '"llava-1.5-7b-4"' in gone.json()["detail"]
    linked = [("image_files", ("a.jpg", f"{server.url}/health".encode(), "image/jpeg"))]
    for answer, status, param in (
        (requests.post(url, data=asked, files=linked, timeout=20), 400, "image_files[0]"),
        (
            requests.post(url, json=asked | {"image_links": [f"{server.url}/a.png"]}, timeout=20),
            400,
            "image_links[0]",
        ),
        (requests.post(url, json=asked | {"image_files": [JPEG] * 9}, timeout=20), 400, "image_files"),
        (requests.post(url, data=asked, timeout=20), 415, None),
        (requests.post(f"{server.url}/v1/chat/completions", files=linked, timeout=20), 415, None),
        (
            requests.post(
                url, data=b"x", headers={"content-type": "multipart/form-data; boundary=y"}, timeout=20
            ),
            400,
            None,
        ),
    ):
        assert answer.status_code == status, answer.text
        assert isinstance(answer.json()["detail"], str)
        assert answer.json()["error"]["param"] == param
    assert not any(record["route"] == "/health" for record in server.records()), "R-27: nothing was fetched"


# ---------------------------------------------------------------------------------------------------------- limits


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/v1/chat/completions", "application/json"),
        ("/generate", "application/json"),
        ("/llava/generate_stream", "application/json"),
        ("/", "application/json"),
        (IDEFICS, "application/json"),
        ("/generate/fromimagetext", "application/json"),
        ("/generate/fromimagetext", "multipart/form-data; boundary=x"),
    ],
)
def test_eight_pictures_of_twenty_mebibytes(server: RunningServer, path: str, kind: str) -> None:
    """B-51: refused by its announced length, before a byte of it is read."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    for length, status in ((8 * 20 * 2**20 * 4 // 3, 413), (32 * 2**20 + 1, 413)):
        connection.putrequest("POST", path)
        connection.putheader("content-type", kind)
        connection.putheader("content-length", str(length))
        connection.endheaders()
        response = connection.getresponse()
        assert response.status == status
        assert json.loads(response.read())["error"]["code"] in ("payload_too_large", 413)
        connection.close()


def test_a_large_body_is_read(server: RunningServer) -> None:
    """Nearly 32 MiB: white space around the picture pads the JSON, a file that is no picture the form."""
    padding = " " * (31 * 2**20)
    answer = server.ask("POST", "/generate", {"inputs": f"<image>{JPEG}{padding}</image>What?"})
    assert answer.json["generated_text"] == "<image> What?"
    files = [("image_files", ("a", bytes(15 * 2**20)))] * 2
    data = {"model_name": "llava", "prompt": "x"}
    response = requests.post(f"{server.url}/generate/fromimagetext", data=data, files=files, timeout=20)
    assert (response.status_code, response.json()["error"]["param"]) == (400, "image_files[0]")


def test_the_routes_are_described(server: RunningServer) -> None:
    paths = server.ask("GET", "/openapi.json").json["paths"]
    assert set(paths[IDEFICS]["post"]["requestBody"]["content"]) == {"application/json"}
    described = paths["/generate/fromimagetext"]["post"]
    assert set(described["requestBody"]["content"]) == {"application/json", "multipart/form-data"}
    assert [(one["name"], one["in"], one["required"]) for one in described["parameters"]] == [
        ("model_name", "query", False)
    ]
    assert b"/generate/fromimagetext" in server.ask("GET", "/docs").body
