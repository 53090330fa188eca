"""The two ends of a conversation: a terminal with history and commands, or a script's input and output."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Final

from quintet.cli.failure import Failure

if TYPE_CHECKING:
    from quintet.cli.conversation import Conversation

HELP: Final = """\
/clear         forget the conversation
/system TEXT   instructions that stand before the conversation; without TEXT: none
/model NAME    talk to another model; without NAME: list the models
/help          this list
/quit          leave (also: Ctrl-D). Ctrl-C stops an answer."""

_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


class Leave(Exception):
    """The user wants to go."""


def talk(conversation: Conversation, message: str | None, history_path: Path) -> None:
    """Hold the conversation: one message, a script's lines, or a person at a terminal."""
    if message is not None:
        print_answer(conversation, message)
    elif sys.stdin.isatty():
        _talk_to_person(conversation, history_path)
    else:
        _talk_to_script(conversation)


def print_answer(conversation: Conversation, text: str) -> None:
    """Print one answer as it comes; control characters in it can't move the cursor or change the terminal."""
    with closing(conversation.ask(text)) as pieces:
        for piece in pieces:
            sys.stdout.write(_CONTROLS.sub("", piece))
            sys.stdout.flush()
    print(flush=True)


def obey(conversation: Conversation, line: str) -> str:
    """Do what a /command says and return what to tell the user; raises Leave."""
    word, _, rest = line.partition(" ")
    rest = rest.strip()
    match word:
        case "/quit" | "/exit" | "/bye":
            raise Leave
        case "/clear":
            conversation.clear()
            return "The conversation is forgotten."
        case "/system":
            conversation.system = rest
            return "The instructions are set." if rest else "There are no instructions now."
        case "/model":
            return _switch_model(conversation, rest)
        case "/help":
            return HELP
    return f"There is no command {_CONTROLS.sub('', word)}. /help lists them all."


def _switch_model(conversation: Conversation, name: str) -> str:
    names = [str(model["id"]) for model in conversation.remote.models()]
    if name in names:
        conversation.model = name
        return f"Talking to {name} now."
    shown = "\n".join(f"{'*' if each == conversation.model else ' '} {each}" for each in names)
    return f"There is no model of that name. The server has:\n{shown}" if name else shown


def _talk_to_script(conversation: Conversation) -> None:
    for line in sys.stdin:
        text = line.strip()
        if text.startswith("/"):
            try:
                obey(conversation, text)
            except Leave:
                return
        elif text:
            print_answer(conversation, text)


def _talk_to_person(conversation: Conversation, history_path: Path) -> None:
    print(f"{conversation.model} at {conversation.remote.url}. /help lists the commands, Ctrl-D leaves.")
    for text in _typed_lines(history_path):
        try:
            if text.startswith("/"):
                print(obey(conversation, text))
            else:
                print_answer(conversation, text)
        except KeyboardInterrupt:
            print(" [stopped]")
        except Failure as failure:
            print(f"quintet: {failure}", file=sys.stderr)
        except Leave:
            return


def _typed_lines(history_path: Path) -> Iterator[str]:
    """What the user types, until Ctrl-D; Ctrl-C drops the line being typed."""
    from prompt_toolkit import PromptSession
    from prompt_toolkit.history import FileHistory, History, InMemoryHistory

    history: History = InMemoryHistory()
    if _is_private(history_path):
        history = FileHistory(history_path)
    session: PromptSession[str] = PromptSession(history=history)
    while True:
        try:
            text = session.prompt("> ").strip()
        except KeyboardInterrupt:
            continue
        except EOFError:
            return
        if text:
            yield text


def _is_private(path: Path) -> bool:
    """Make the history file readable by this user alone; False if there can't be one."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_NOFOLLOW, 0o600))
        path.chmod(0o600)
    except OSError:
        return False
    return True
