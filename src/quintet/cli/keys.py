"""`quintet keys`: make, list and revoke API keys in the database of this machine."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from quintet.cli import settings
from quintet.cli.failure import Failure

if TYPE_CHECKING:
    from quintet.store.keys import Key, KeyStore

SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}

app = typer.Typer(
    help="Make, list and revoke API keys.\n\n\b\nExamples:\n"
    "  quintet keys create --owner alice\n"
    "  quintet keys list\n"
    "  quintet keys revoke 4Hq0sVn2Kd\n",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Home = Annotated[Path | None, typer.Option(help="Data directory. Default: $QUINTET_HOME, then ~/.quintet.")]


@app.command()
def create(
    owner: Annotated[str, typer.Option(help="Who the key is for: a name, an e-mail address, a service.")],
    label: Annotated[str, typer.Option(help="A note for you, such as where the key is used.")] = "",
    admin: Annotated[bool, typer.Option("--admin", help="Let this key manage the server.")] = False,
    valid_for: Annotated[str | None, typer.Option(help="When it expires, such as 12h, 30d or 8w.")] = None,
    home: Home = None,
) -> None:
    """Make an API key and print it, alone, on standard output. It is shown only this once.

    \b
    Examples:
      quintet keys create --owner alice
      quintet keys create --owner ci --label "nightly tests" --valid-for 30d
      export QUINTET_API_KEY=$(quintet keys create --owner me)
    """
    valid_seconds = None if valid_for is None else parse_duration(valid_for)
    with _opened(home) as store:
        try:
            key = store.create(owner, label=label, admin=admin, valid_seconds=valid_seconds)
        except ValueError as error:
            raise Failure(str(error)) from None
    print(key)
    print("Keep this key: it can't be shown again. A running server accepts it at once.", file=sys.stderr)


@app.command("list")
def list_keys(home: Home = None) -> None:
    """List all keys: id, state, owner, when they were made. Secrets are never shown.

    \b
    Examples:
      quintet keys list
      quintet keys list --home /srv/quintet
    """
    with _opened(home) as store:
        found = store.list()
    if not found:
        print("There are no keys yet. Make one with: quintet keys create --owner NAME", file=sys.stderr)
        return
    now = datetime.now(UTC).timestamp()
    rows = [("ID", "ENDS IN", "STATE", "OWNER", "MADE", "LABEL"), *(_row(key, now) for key in found)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


@app.command()
def revoke(
    key_id: Annotated[str, typer.Argument(help="The id of the key: the part between qt_ and the next _.")],
    home: Home = None,
) -> None:
    """Make a key useless. This can't be undone; make a new key instead.

    \b
    Examples:
      quintet keys revoke 4Hq0sVn2Kd
    """
    # People paste whole keys; the id in them is all that is needed, and the secret goes nowhere.
    parts = key_id.split("_")
    wanted = parts[1] if len(parts) == 3 and parts[0] == "qt" else key_id
    with _opened(home) as store:
        if not store.revoke(wanted):
            raise Failure("there is no key with this id. See all ids with: quintet keys list")
    print("Revoked. A running server refuses the key within seconds.", file=sys.stderr)


def parse_duration(text: str) -> float:
    """Seconds in a duration such as 90s, 15m, 12h, 30d or 8w."""
    match = re.fullmatch(r"([0-9]{1,6})([smhdw])", text)
    if match is None or int(match[1]) == 0:
        raise Failure("--valid-for takes a number and a unit: 90s, 15m, 12h, 30d or 8w", status=2)
    return float(int(match[1]) * SECONDS[match[2]])


@contextmanager
def _opened(home: Path | None) -> Iterator[KeyStore]:
    from quintet.store.database import StoreBroken
    from quintet.store.keys import open_key_store

    current = settings.read(home=home)
    try:
        store = open_key_store(current.database_path, current.pepper_path)
    except StoreBroken as error:
        raise Failure(str(error)) from None
    try:
        yield store
    finally:
        store.database.close()


def _row(key: Key, now: float) -> tuple[str, ...]:
    state = "revoked" if key.revoked is not None else "active" if key.is_valid(now) else "expired"
    made = datetime.fromtimestamp(key.created, UTC).strftime("%Y-%m-%d %H:%M")
    owner = f"{key.owner} (admin)" if key.admin else key.owner
    return key.id, f"…{key.last4}", state, owner, made, key.label
