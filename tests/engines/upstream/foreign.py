"""A foreign server that answers what a test tells it, on a thread of its own."""

import json
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from quintet.core.content import Message
from quintet.core.events import collect
from quintet.core.models import Model
from quintet.core.requests import TextRequest
from quintet.engines.upstream import open_engine
from tests.engines import contract

DONE = b"data: [DONE]\n\n"


def event(value):
    return b"data: " + json.dumps(value).encode() + b"\n\n"


def text_chunk(text, reason=None, index=0, **more):
    choice = {"index": index, "delta": {"content": text}, "finish_reason": reason, **more}
    return event({"choices": [choice]})


def usage_chunk(prompt=5, completion=2):
    return event({"choices": [], "usage": {"prompt_tokens": prompt, "completion_tokens": completion}})


GOOD = (text_chunk("one"), text_chunk(" two", "stop"), usage_chunk(), DONE)


def ask(words="hello", **fields):
    return TextRequest(model="ours", messages=(Message("user", (words,)),), **fields)


def answer(engine, request=None):
    return collect(contract.drive(engine, [request or ask()])[0])


class Foreign:
    """`answers` are given to POSTs one after the other: functions that get the handler and write what they like."""

    def __init__(self, owner="someone"):
        self.answers = []
        self.bodies = []
        self.headers = []
        self.paths = []
        self.healthy = True
        self.dripping = False
        """Its list of models comes a byte at a time and never ends."""
        self.over = threading.Event()
        self.metrics_text = ""
        self.listing = {"object": "list", "data": [{"id": "theirs", "owned_by": owner}]}
        self.gone = threading.Event()
        """Set when a connection was found closed by the other side."""
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def do_GET(self):
                outer.headers.append(dict(self.headers))
                if self.path == "/metrics":
                    reply(self, 200, outer.metrics_text.encode())
                elif outer.dripping:
                    drip(self, outer)
                elif outer.healthy:
                    reply(self, 200, json.dumps(outer.listing).encode())
                else:
                    reply(self, 503)

            def do_POST(self):
                outer.paths.append(self.path)
                outer.headers.append(dict(self.headers))
                outer.bodies.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
                self.close_connection = True
                try:
                    outer.answers.pop(0)(self)
                except (BrokenPipeError, ConnectionResetError):
                    outer.gone.set()

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True)

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server.server_port}/v1"

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def open(self, task="text", **options):
        """The engine for a model that is here."""
        options = {"url": self.url, "upstream_model": "theirs", **options}
        return open_engine(Model(name="ours", task=task, engine="upstream", options=options))

    def says(self, *pieces):
        """Answer the next request with a stream of these bytes."""
        self.answers.append(lambda handler: stream(handler, *pieces))

    def replies(self, status, body=b"", **headers):
        """Answer the next request with this."""
        body = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.answers.append(lambda handler: reply(handler, status, body, **headers))


def reply(handler, status, body=b"", **headers):
    handler.send_response(status)
    for name, value in {"content_length": str(len(body)), **headers}.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(body)


def stream(handler, *pieces):
    handler.send_response(200)
    handler.send_header("content-type", "text/event-stream")
    handler.send_header("connection", "close")
    handler.end_headers()
    for piece in pieces:
        handler.wfile.write(piece)
        handler.wfile.flush()


def drip(handler, foreign):
    handler.close_connection = True
    handler.send_response(200)
    handler.send_header("content-length", "1000000")
    handler.end_headers()
    with suppress(BrokenPipeError, ConnectionResetError):
        while not foreign.over.wait(0.02):
            handler.wfile.write(b" ")
            handler.wfile.flush()


def until_gone(handler, foreign, piece):
    """Say something again and again until nobody listens."""
    stream(handler)
    with suppress(BrokenPipeError, ConnectionResetError):
        while True:
            handler.wfile.write(piece)
            handler.wfile.flush()
    foreign.gone.set()
