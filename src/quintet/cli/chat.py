"""`quintet chat`: talk to a model of a running server, in a terminal or from a script."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from quintet.cli import settings


def chat(
    message: Annotated[str | None, typer.Argument(help="Ask just this, print the answer and leave.")] = None,
    url: Annotated[
        str | None, typer.Option(envvar="QUINTET_URL", help="The server to ask. Default: this machine's.")
    ] = None,
    key: Annotated[
        str, typer.Option(envvar="QUINTET_API_KEY", help="API key, if the server wants one.")
    ] = "",
    model: Annotated[
        str | None, typer.Option(help="The model to talk to. Default: the server's default model.")
    ] = None,
    system: Annotated[str, typer.Option(help="Instructions that stand before the conversation.")] = "",
    home: Annotated[
        Path | None, typer.Option(help="Data directory. Default: $QUINTET_HOME, then ~/.quintet.")
    ] = None,
) -> None:
    """Talk to a model. Answers appear word by word; Ctrl-C stops one, Ctrl-D leaves.

    In a terminal, /help lists the commands. Without a terminal, every line read from standard input is one
    message of the same conversation, and only the answers are printed.

    \b
    Examples:
      quintet chat
      quintet chat "What is 17 plus 25?"
      echo "Hello!" | quintet chat --system "Answer in capitals."
      quintet chat --url http://gpu-box:8000 --key "$QUINTET_API_KEY" --model phi3
    """
    from quintet.cli.conversation import Conversation, choose_model
    from quintet.cli.remote import Remote
    from quintet.cli.terminal import talk

    current = settings.read(home=home)
    remote = Remote(url or settings.server_url(current), key)
    try:
        conversation = Conversation(remote, model or choose_model(remote, current.default_model), system)
        talk(conversation, message, current.home / "chat_history")
    finally:
        remote.close()
