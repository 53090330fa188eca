"""Opening the database: created, migrated, or refused in one clear line."""

from __future__ import annotations

import os
import sqlite3
from multiprocessing import get_context
from pathlib import Path

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import inspect

import quintet.store
from quintet.store import tables
from quintet.store.database import StoreBroken, open_database
from quintet.store.keys import open_key_store

MIGRATIONS = Path(quintet.store.__file__).parent / "migrations"


def test_head_is_the_newest_migration() -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    assert ScriptDirectory.from_config(config).get_heads() == [tables.HEAD]


def test_migrations_make_the_tables_of_the_program(tmp_path: Path) -> None:
    database = open_database(tmp_path / "quintet.db")
    found = inspect(database.engine)
    for table in tables.metadata.sorted_tables:
        columns = {column["name"]: column for column in found.get_columns(table.name)}
        assert set(columns) == {column.name for column in table.columns}
        for column in table.columns:
            assert columns[column.name]["nullable"] == column.nullable
            assert str(columns[column.name]["type"]) == str(column.type.compile(database.engine.dialect))
        assert {index["name"] for index in found.get_indexes(table.name)} == {i.name for i in table.indexes}


def test_wal_is_on_and_opening_twice_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "quintet.db"
    first = open_database(path)
    assert first.is_new
    second = open_database(path)
    assert not second.is_new
    with second.reading() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"


@pytest.mark.parametrize("content", [b"not a database at all" * 100, b"SQLite format 3\0" + os.urandom(8192)])
def test_garbage_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "quintet.db"
    path.write_bytes(content)
    with pytest.raises(StoreBroken, match="corrupt") as caught:
        open_database(path)
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == content


def test_a_damaged_page_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "quintet.db"
    store = open_key_store(path, tmp_path / "pepper")
    for number in range(200):
        store.create(f"owner {number}")
    store.database.close()
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(size // 2 // 4096 * 4096)
        file.write(b"\xff" * 4096)
    with pytest.raises(StoreBroken, match="corrupt"):
        open_database(path)


def test_somebody_elses_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "quintet.db"
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE recipes (name)")
    other.close()
    with pytest.raises(StoreBroken, match="not a database of Quintet"):
        open_database(path)


def test_a_newer_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "quintet.db"
    open_database(path).close()
    with sqlite3.connect(path) as newer:
        newer.execute("UPDATE alembic_version SET version_num = '9999'")
    newer.close()
    with pytest.raises(StoreBroken, match="newer version"):
        open_database(path)


def test_a_locked_database_is_named_as_such(tmp_path: Path) -> None:
    path = tmp_path / "quintet.db"
    open_database(path).close()
    with sqlite3.connect(path, isolation_level=None) as holder:
        holder.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreBroken, match="locked by another program"):
            open_database(path)
    holder.close()


def test_a_directory_in_the_way_is_refused(tmp_path: Path) -> None:
    (tmp_path / "quintet.db").mkdir()
    with pytest.raises(StoreBroken):
        open_database(tmp_path / "quintet.db")


def _open_and_create(home: str) -> str:
    store = open_key_store(Path(home) / "quintet.db", Path(home) / "pepper")
    return store.create("racer")


def test_two_processes_may_start_at_once(tmp_path: Path) -> None:
    with get_context("spawn").Pool(3) as pool:
        made = pool.map(_open_and_create, [str(tmp_path)] * 3)
    store = open_key_store(tmp_path / "quintet.db", tmp_path / "pepper")
    assert all(store.verify(key) is not None for key in made)
