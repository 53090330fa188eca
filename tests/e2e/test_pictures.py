"""A picture made by code, described by the shipped starter-vision through every dialect and every way to send it."""

from __future__ import annotations

import base64
import http.server
import json
import threading
import time
from collections.abc import Iterator
from io import BytesIO
from typing import Any

import openai
import pytest
from PIL import Image, ImageDraw

from tests.support.server import RunningServer

QUESTION = "What is in this image?"
CHATML = "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"
MODEL = "starter-vision"


def draw(kind: str = "PNG", colour: str = "red", shape: str = "circle", side: int = 256) -> bytes:
    picture = Image.new("RGB", (side, side), "white")
    box = [side * 0.25, side * 0.25, side * 0.75, side * 0.75]
    pen = ImageDraw.Draw(picture)
    (pen.ellipse if shape == "circle" else pen.rectangle)(box, fill=colour)
    file = BytesIO()
    picture.save(file, kind)
    return file.getvalue()


def encoded(**more: Any) -> str:
    return base64.b64encode(draw(**more)).decode()


@pytest.fixture(scope="module")
def gallery() -> Iterator[str]:
    """A picture behind a link; returns its host and port."""

    class Show(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(draw("JPEG"))

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Show) as shown:
        thread = threading.Thread(target=shown.serve_forever)
        thread.start()
        yield f"127.0.0.1:{shown.server_port}"
        shown.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, gallery: str) -> Iterator[RunningServer]:
    aliases = dict.fromkeys(("llava-1.5-7b-hf", "idefics", "llava-1.5-7b-4"), MODEL)
    with RunningServer.start(
        tmp_path_factory.mktemp("home"),
        default_model="starter-chat",
        preload=json.dumps(["starter-chat", MODEL]),
        aliases=json.dumps(aliases),
        fetch__permitted_addresses=json.dumps([gallery]),
    ) as running:
        yield running


@pytest.fixture(scope="module")
def client(server: RunningServer) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="local", max_retries=0) as made:
        yield made


def assert_seen(text: str, *words: str) -> None:
    for word in words or ("red", "circle"):
        assert word in text.lower(), text


def ask(server: RunningServer, path: str, body: object) -> Any:
    answer = server.ask("POST", path, body)
    assert answer.status == 200, answer.body
    return answer


@pytest.mark.parametrize(
    "markup",
    ["![](data:image/png;base64,{})\n", "![A red thing](data:image/png;base64,{})\n", "<image>{}</image>\n"],
    ids=["markdown", "with words", "tags"],
)
@pytest.mark.parametrize("path", ["/generate", "/llava/generate", f"/{MODEL}/generate"])
def test_tgi(server: RunningServer, path: str, markup: str) -> None:
    body = {
        "inputs": CHATML.format(markup.format(encoded()) + QUESTION),
        "parameters": {"max_new_tokens": 40},
    }
    assert_seen(ask(server, path, body).json["generated_text"])


def test_tgi_stream_and_link(server: RunningServer, gallery: str) -> None:
    inputs = CHATML.format(f"![](http://{gallery}/circle.jpg)\n{QUESTION}")
    body = {"inputs": inputs, "parameters": {"max_new_tokens": 40}}
    events = ask(server, "/generate_stream", body).body.decode().split("\n\n")
    last = json.loads([event for event in events if event.startswith("data:")][-1][5:])
    assert_seen(last["generated_text"])


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_openai(client: openai.OpenAI, kind: str) -> None:
    link = f"data:image/{kind.lower()};base64,{encoded(kind=kind, colour='blue', shape='square')}"
    messages: Any = [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": QUESTION},
                {"type": "image_url", "image_url": {"url": link}},
            ],
        }
    ]
    whole = client.chat.completions.create(model="llava-1.5-7b-hf", messages=messages)
    assert_seen(whole.choices[0].message.content or "", "blue", "square")
    pieces = client.chat.completions.create(model=MODEL, messages=messages, stream=True)
    assert_seen("".join(piece.choices[0].delta.content or "" for piece in pieces), "blue", "square")


def test_openai_link_and_a_second_question(
    client: openai.OpenAI, server: RunningServer, gallery: str
) -> None:
    picture = {"type": "image_url", "image_url": {"url": f"http://{gallery}/any", "detail": "low"}}
    messages: Any = [{"role": "user", "content": [picture, {"type": "text", "text": QUESTION}]}]
    first = client.chat.completions.create(model=MODEL, messages=messages)
    assert_seen(first.choices[0].message.content or "")
    messages += [
        {"role": "assistant", "content": first.choices[0].message.content},
        {"role": "user", "content": "What color is it?"},
    ]
    second = client.chat.completions.create(model=MODEL, messages=messages)
    assert_seen(second.choices[0].message.content or "", "red")
    assert second.usage is not None
    assert second.usage.prompt_tokens_details is not None
    assert (second.usage.prompt_tokens_details.cached_tokens or 0) >= 32


@pytest.mark.parametrize("form", ["strings", "turns"])
def test_krutrim(server: RunningServer, form: str) -> None:
    circle, square = encoded(), encoded(colour="blue", shape="square")
    if form == "strings":
        prompts: list[Any] = ["<image>  ", QUESTION, "<image>  ", QUESTION]
        images = [[circle], [], [square], []]
    else:
        parts = [{"type": "image"}, {"type": "text", "text": QUESTION}]
        prompts = [{"role": "User", "content": parts}] * 2
        images = [[circle], [square]]
    body = {"modelName": "idefics", "prompts": prompts, "images": images, "maxTokens": 40}
    first, second = ask(server, "/v1/multimodal/generations/idefics", body).json["generated_texts"]
    assert_seen(first)
    assert_seen(second, "blue", "square")


def test_manager_json(server: RunningServer) -> None:
    body = {
        "model_name": "llava-1.5-7b-4",
        "prompt": QUESTION,
        "image_links": [f"data:image/jpg;base64,{encoded(kind='JPEG')}"],
    }
    assert_seen(ask(server, "/generate/fromimagetext", body).body.decode())
    body = {"model_name": "llava-1.5-7b-4", "prompt": QUESTION, "image_files": [encoded()]}
    assert_seen(ask(server, "/generate/fromimagetext", body).body.decode())


def test_a_text_model_says_who_can_see(client: openai.OpenAI) -> None:
    link = f"data:image/png;base64,{encoded()}"
    messages: Any = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": link}}]}]
    with pytest.raises(openai.BadRequestError, match=MODEL):
        client.chat.completions.create(model="starter-chat", messages=messages)


def test_inside_addresses_stay_out_of_reach(server: RunningServer) -> None:
    for link in (
        f"http://127.0.0.1:{server.port}/health",
        "http://127.0.0.1/",
        "http://169.254.169.254/latest",
    ):
        answer = server.ask("POST", "/llava/generate", {"inputs": f"![]({link})"})
        assert (answer.status, answer.json["error_type"]) == (400, "validation"), link


def test_what_was_seen_is_counted(server: RunningServer) -> None:
    sample = f'quintet_engine_pictures_encoded_total{{model="{MODEL}"}} '
    until = time.monotonic() + 10
    while True:  # engines say what they have done every other second
        lines = server.ask("GET", "/metrics").body.decode().splitlines()
        if any(float(line.removeprefix(sample)) > 0 for line in lines if line.startswith(sample)):
            return
        assert time.monotonic() < until, lines
        time.sleep(0.1)
