"""`quintet keys`: what scripts and people see."""

import re
import sqlite3
from pathlib import Path

import pytest

from quintet.cli.failure import Failure
from quintet.cli.keys import parse_duration
from tests.cli.test_command import quintet_process

KEY = re.compile(r"qt_([0-9A-Za-z]+)_[0-9A-Za-z]+")


def test_create_prints_the_key_alone(tmp_path: Path) -> None:
    done = quintet_process("keys", "create", "--owner", "alice", home=tmp_path)
    assert done.returncode == 0
    assert KEY.fullmatch(done.stdout.removesuffix("\n"))
    assert "can't be shown again" in done.stderr


def test_list_shows_state_and_never_a_secret(tmp_path: Path) -> None:
    first = quintet_process(
        "keys", "create", "--owner", "alice", "--label", "laptop", home=tmp_path
    ).stdout.strip()
    second = quintet_process("keys", "create", "--owner", "root", "--admin", home=tmp_path).stdout.strip()
    ids = [key.split("_")[1] for key in (first, second)]
    assert quintet_process("keys", "revoke", ids[0], home=tmp_path).returncode == 0
    done = quintet_process("keys", "list", home=tmp_path)
    header, *rows = done.stdout.splitlines()
    assert header.split() == ["ID", "ENDS", "IN", "STATE", "OWNER", "MADE", "LABEL"]
    assert [row.split()[0] for row in rows] == ids
    assert [row.split()[2] for row in rows] == ["revoked", "active"]
    assert rows[0].endswith("laptop")
    assert "root (admin)" in rows[1]
    for key in (first, second):
        assert key.split("_")[2] not in done.stdout


def test_revoke_takes_a_whole_key_too_and_names_unknown_ones(tmp_path: Path) -> None:
    key = quintet_process("keys", "create", "--owner", "alice", home=tmp_path).stdout.strip()
    assert quintet_process("keys", "revoke", key, home=tmp_path).returncode == 0
    done = quintet_process("keys", "revoke", "nobody0000", home=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert "no key with this id" in done.stderr


def test_empty_list_says_how_to_make_one(tmp_path: Path) -> None:
    done = quintet_process("keys", "list", home=tmp_path)
    assert (done.returncode, done.stdout) == (0, "")
    assert "quintet keys create" in done.stderr


@pytest.mark.parametrize(
    "arguments", [("--owner", " "), ("--owner", "a\nb"), ("--owner", "a", "--valid-for", "5")]
)
def test_bad_input_is_one_line_and_no_key(arguments: tuple[str, ...], tmp_path: Path) -> None:
    done = quintet_process("keys", "create", *arguments, home=tmp_path)
    assert done.returncode != 0
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1


def test_expiry_is_kept(tmp_path: Path) -> None:
    quintet_process("keys", "create", "--owner", "ci", "--valid-for", "12h", home=tmp_path)
    with sqlite3.connect(tmp_path / "quintet.db") as connection:
        made, expires = connection.execute("SELECT created, expires FROM keys").fetchone()
    connection.close()
    assert expires - made == 12 * 3600


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("15m", 900), ("12h", 43200), ("30d", 2592000)])
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "5", "0h", "-1h", "1y", "1.5h", "9999999d", "١h"])
def test_bad_durations_are_refused(text: str) -> None:
    with pytest.raises(Failure, match="valid-for"):
        parse_duration(text)
