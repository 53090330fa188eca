"""How the commands take answers that go wrong: a loopback server sends prepared bytes."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from quintet.cli.conversation import Conversation, choose_model
from quintet.cli.failure import Failure
from quintet.cli.remote import Refusal, Remote
from quintet.cli.terminal import Leave, obey, print_answer


class Answers:
    """A server that gives the same answer to everybody and remembers what it was asked."""

    def __init__(self, status: int, body: bytes) -> None:
        self.status, self.body = status, body
        self.asked: list[dict] = []
        self.keys: list[str | None] = []
        self.hung_up = threading.Event()


@contextmanager
def answering(body: bytes, status: int = 200, endless: bool = False) -> Iterator[tuple[Answers, Remote]]:
    answers = Answers(status, body)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.do_POST()

        def do_POST(self) -> None:
            length = int(self.headers.get("content-length") or 0)
            answers.asked.append(json.loads(self.rfile.read(length) or b"{}"))
            answers.keys.append(self.headers["authorization"])
            self.send_response(answers.status)
            self.end_headers()
            try:
                self.wfile.write(answers.body)
                while endless:
                    self.wfile.write(chunk("more "))
                    self.wfile.flush()
            except (BrokenPipeError, ConnectionResetError):
                answers.hung_up.set()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    remote = Remote(f"http://127.0.0.1:{server.server_port}/v1/", "secret")
    try:
        yield answers, remote
    finally:
        remote.close()
        server.shutdown()
        server.server_close()
        thread.join()


def chunk(text: str) -> bytes:
    return b"data: " + json.dumps({"choices": [{"delta": {"content": text}}]}).encode() + b"\n\n"


DONE = b"data: [DONE]\n\n"


def test_an_answer_comes_in_pieces_and_is_remembered() -> None:
    with answering(b": ping\n\n" + chunk("Hel") + chunk("lo.") + DONE) as (server, remote):
        conversation = Conversation(remote, "m", system="Be kind.")
        assert list(conversation.ask("Hi")) == ["Hel", "lo."]
        list(conversation.ask("Again"))
    assert server.asked[1]["messages"] == [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello."},
        {"role": "user", "content": "Again"},
    ]
    assert server.keys == ["Bearer secret", "Bearer secret"]


def test_a_stopped_answer_hangs_up_and_keeps_what_was_read() -> None:
    with answering(chunk("one "), endless=True) as (server, remote):
        conversation = Conversation(remote, "m")
        pieces = conversation.ask("Count")
        assert next(pieces) == "one "
        pieces.close()
        assert server.hung_up.wait(10)
    assert conversation.turns == [
        {"role": "user", "content": "Count"},
        {"role": "assistant", "content": "one "},
    ]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (chunk("half"), "broke off"),
        (chunk("half") + b'data: {"error": {"message": "The worker died."}}\n\n', "The worker died."),
        (chunk("half") + b'data: {"error": "The worker died."}\n\n', "The worker died."),
    ],
)
def test_a_broken_answer_is_a_failure_not_an_end(body: bytes, message: str) -> None:
    with answering(body) as (_, remote), pytest.raises(Failure, match=message):
        list(remote.answer("m", []))


def test_a_refusal_shows_the_servers_words_and_forgets_the_question() -> None:
    with answering(b'{"error": {"message": "There is no model of that name."}}', 404) as (_, remote):
        conversation = Conversation(remote, "m")
        with pytest.raises(Refusal, match=r"^There is no model of that name\.$"):
            list(conversation.ask("Hi"))
    assert conversation.turns == []


def test_a_missing_key_says_where_to_get_one() -> None:
    with (
        answering(b'{"error": {"message": "No valid key"}}', 401) as (_, remote),
        pytest.raises(Refusal, match="quintet keys create"),
    ):
        remote.models()


def test_an_error_that_is_not_json_still_has_its_status() -> None:
    with answering(b"<html>oops</html>", 502) as (_, remote), pytest.raises(Refusal, match="answered 502"):
        remote.models()


def test_control_characters_never_reach_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with answering(chunk("a\x1b]0;pwned\x07b\x9b2J\tc\nd\r") + DONE) as (_, remote):
        print_answer(Conversation(remote, "m"), "Hi")
    assert capsys.readouterr().out == "a]0;pwnedb2J\tc\nd\n"


def test_commands_change_the_conversation() -> None:
    with answering(b'{"data": [{"id": "small"}, {"id": "big"}]}') as (_, remote):
        conversation = Conversation(remote, choose_model(remote, "absent"))
        assert conversation.model == "small"
        assert "* small" in obey(conversation, "/model")
        assert obey(conversation, "/model big") == "Talking to big now."
        assert conversation.model == "big"
        assert "no model of that name" in obey(conversation, "/model gone")
        obey(conversation, "/system Be brief.")
        conversation.turns.append({"role": "user", "content": "x"})
        obey(conversation, "/clear")
        assert (conversation.system, conversation.turns) == ("Be brief.", [])
        assert "/quit" in obey(conversation, "/help")
        assert "no command /dance" in obey(conversation, "/dance now")
        with pytest.raises(Leave):
            obey(conversation, "/quit")


def test_the_default_model_is_preferred_and_none_is_a_failure() -> None:
    with answering(b'{"data": [{"id": "small"}, {"id": "big"}]}') as (_, remote):
        assert choose_model(remote, "big") == "big"
    with answering(b'{"data": []}') as (_, remote), pytest.raises(Failure, match="no models"):
        choose_model(remote, "big")


@pytest.mark.parametrize("body", [b"<html>hello</html>", b"[]", b"{}", b'{"data": 1}'])
def test_somebody_elses_server(body: bytes) -> None:
    with answering(body) as (_, remote), pytest.raises(Failure, match="no Quintet server"):
        remote.models()
