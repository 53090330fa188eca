"""The `quintet` command: what it can do, and how its failures look."""

from __future__ import annotations

import os
import sys
from typing import Annotated, Final

import typer

from quintet import __version__
from quintet.cli import chat, doctor, keys, models, pull, serve
from quintet.cli.failure import Failure
from quintet.core.errors import QuintetError

EXAMPLES: Final = """\
\b
Examples:
  quintet serve                            start the server on 127.0.0.1:8000
  quintet chat                             talk to the running server
  quintet pull qwen3-0.6b                  install a model
  quintet keys create --owner alice        make an API key
  quintet doctor                           check this machine
"""

app = typer.Typer(
    name="quintet",
    help="One self-hosted server for generative models, in the API dialects that clients speak.\n\n"
    + EXAMPLES,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
app.command("serve", short_help="Start the server.")(serve.serve)
app.command("chat", short_help="Talk to a model of a running server.")(chat.chat)
app.command("pull", short_help="Install a model.")(pull.pull)
app.add_typer(models.app, name="models")
app.add_typer(keys.app, name="keys")
app.command("doctor", short_help="Check this machine, and say how to mend what is wrong.")(doctor.doctor)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"quintet {__version__}")
        raise typer.Exit


@app.callback()
def _global_options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit."),
    ] = False,
    traceback: Annotated[
        bool, typer.Option("--traceback", help="Show where an unexpected error came from; for bug reports.")
    ] = False,
) -> None:
    """The callback of the whole command; typer shows the text given to the app instead of this one."""


def main() -> None:
    """Run the command line; every failure is one line on standard error and a status that isn't 0."""
    try:
        app(prog_name="quintet")
    except Failure as failure:
        _complain(str(failure), failure.status)
    except QuintetError as error:
        _complain(error.message, 1)
    except KeyboardInterrupt:
        _complain("stopped", 130)
    except BrokenPipeError:
        # The reader of our output has gone (`quintet models list | head -1`): nobody is left to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except Exception as error:
        if "--traceback" in sys.argv:
            raise
        name = type(error).__name__
        _complain(f"unexpected {name}: {error}. This is a bug; `quintet --traceback …` shows where.", 70)


def _complain(message: str, status: int) -> None:
    print(f"quintet: {message}", file=sys.stderr)
    sys.exit(status)


if __name__ == "__main__":
    main()
