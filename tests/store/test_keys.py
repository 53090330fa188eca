"""Keys: made once, verified by HMAC, revoked for good; database and pepper belong together."""

from __future__ import annotations

import sqlite3
import stat
from pathlib import Path

import pytest

from quintet.core.errors import StoreUnavailable
from quintet.core.identity import Principal
from quintet.store.database import StoreBroken
from quintet.store.keys import KeyStore, open_key_store, split_key


def open_store(home: Path) -> KeyStore:
    return open_key_store(home / "quintet.db", home / "pepper")


def test_a_key_verifies_and_reveals_its_owner(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    key = store.create("ada", label="laptop", tier="tier1", admin=True)
    key_id, _secret = split_key(key) or ("", "")
    assert store.verify(key) == Principal(owner="ada", key_id=key_id, tier="tier1", admin=True)


def test_the_secret_is_in_no_file(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    _prefix, _id, secret = store.create("ada").split("_")
    store.database.close()
    for file in tmp_path.iterdir():
        assert secret.encode() not in file.read_bytes()


def test_all_files_are_private(tmp_path: Path) -> None:
    store = open_store(tmp_path / "home")
    store.create("ada")
    files = list((tmp_path / "home").iterdir())
    assert {"quintet.db", "quintet.db-wal", "quintet.db-shm", "pepper"} <= {file.name for file in files}
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    assert stat.S_IMODE((tmp_path / "home").stat().st_mode) == 0o700


@pytest.mark.parametrize(
    "spoil",
    [
        lambda key: key[:-1],
        lambda key: key + "a",
        lambda key: key[:-1] + ("a" if key[-1] != "a" else "b"),
        lambda key: key.replace("qt_", "QT_"),
        lambda key: "qt_0000000000_" + key.split("_")[2],
        lambda key: key + "\n",
        lambda key: key.replace("_", "-"),
        lambda _key: "",
        lambda _key: "' OR 1=1 --",
        lambda _key: "qt_" + "٠" * 10 + "_" + "٠" * 43,
    ],
)
def test_anything_else_is_nobody(tmp_path: Path, spoil: object) -> None:
    store = open_store(tmp_path)
    key = store.create("ada")
    assert callable(spoil)
    assert store.verify(spoil(key)) is None
    assert store.verify(key) is not None


def test_keys_with_a_common_prefix_do_not_cross(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    ada, bob = store.create("ada"), store.create("bob")
    ada_id, bob_id = ada.split("_")[1], bob.split("_")[1]
    assert store.verify(f"qt_{ada_id}_{bob.split('_')[2]}") is None
    assert store.verify(f"qt_{bob_id}_{ada.split('_')[2]}") is None
    assert store.verify(ada[:40] + bob[40:]) is None


def test_revoking_is_final_and_repeatable(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    key = store.create("ada")
    key_id = key.split("_")[1]
    assert store.revoke(key_id)
    first = store.list()[0].revoked
    assert store.revoke(key_id)
    assert store.list()[0].revoked == first
    assert store.verify(key) is None
    assert not store.revoke("0000000000")


def test_expiry_at_the_boundary(tmp_path: Path) -> None:
    now = 1000.0
    opened = open_store(tmp_path)
    store = KeyStore(opened.database, b"p" * 32, clock=lambda: now)
    key = store.create("ada", valid_seconds=10)
    now = 1009.999
    assert store.verify(key) is not None
    now = 1010.0
    assert store.verify(key) is None


@pytest.mark.parametrize("owner", ["", "  ", "a\nb", "a\x1b[31m", "x" * 201])
def test_bad_owners_are_refused(tmp_path: Path, owner: str) -> None:
    with pytest.raises(ValueError, match="owner"):
        open_store(tmp_path).create(owner)


def test_another_pepper_opens_nothing(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    key = store.create("ada")
    assert KeyStore(store.database, b"q" * 32).verify(key) is None


def test_keys_survive_a_restart(tmp_path: Path) -> None:
    first = open_store(tmp_path)
    key = first.create("ada")
    first.database.close()
    assert open_store(tmp_path).verify(key) is not None


def test_a_lost_database_is_not_replaced(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    store.create("ada")
    store.database.close()
    (tmp_path / "quintet.db").unlink()
    with pytest.raises(StoreBroken, match=r"missing.*backup"):
        open_store(tmp_path)
    assert not (tmp_path / "quintet.db").exists()


def test_a_lost_pepper_is_not_replaced(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    store.create("ada")
    store.database.close()
    (tmp_path / "pepper").unlink()
    with pytest.raises(StoreBroken, match=r"pepper .* is missing"):
        open_store(tmp_path)


def test_a_start_that_died_before_the_pepper_heals(tmp_path: Path) -> None:
    open_store(tmp_path).database.close()
    (tmp_path / "pepper").unlink()
    store = open_store(tmp_path)
    assert store.verify(store.create("ada")) is not None


def test_a_pepper_others_can_read_is_refused(tmp_path: Path) -> None:
    open_store(tmp_path).database.close()
    (tmp_path / "pepper").chmod(0o644)
    with pytest.raises(StoreBroken, match="chmod 600"):
        open_store(tmp_path)


def test_a_short_pepper_is_refused(tmp_path: Path) -> None:
    (tmp_path / "pepper").write_text("secret")
    (tmp_path / "pepper").chmod(0o600)
    with pytest.raises(StoreBroken, match="damaged"):
        open_store(tmp_path)


def test_a_failing_database_is_unavailable_not_empty(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    key = store.create("ada")
    with sqlite3.connect(tmp_path / "quintet.db") as vandal:
        vandal.execute("DROP TABLE keys")
    vandal.close()
    with pytest.raises(StoreUnavailable) as caught:
        store.verify(key)
    assert "SELECT" not in str(caught.value)
    assert caught.value.__cause__ is None
