"""Opens the SQLite database: creates it once, migrates it, and refuses what is broken in one clear line.

WAL keeps readers running while somebody writes. Every failure while in use becomes `StoreUnavailable`, whose
message holds no SQL and no value.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from quintet.core.errors import StoreUnavailable
from quintet.store.tables import HEAD

BUSY_SECONDS = 2.0
"""How long a statement waits for somebody else's lock before the store counts as unavailable."""
FULL_CHECK_BYTES = 64 * 1024 * 1024
"""Databases up to this size are checked page by page at start."""


class StoreBroken(Exception):
    """The database can't be opened; the message says why and what to do."""


class Database:
    """One open database."""

    def __init__(self, engine: Engine, path: Path, is_new: bool) -> None:
        """Use `open_database`."""
        self.engine = engine
        self.path = path
        self.is_new = is_new
        """Whether this call created the file."""

    @contextlib.contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection to read with; raises StoreUnavailable."""
        with translated(), self.engine.connect() as connection:
            yield connection

    @contextlib.contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction that is committed at the end; raises StoreUnavailable."""
        with translated(), self.engine.begin() as connection:
            yield connection

    def close(self) -> None:
        """Close every connection."""
        self.engine.dispose()


def open_database(path: Path, must_exist: bool = False) -> Database:
    """Open, create or migrate the database; raises StoreBroken. The caller holds `one_at_a_time`.

    `must_exist` refuses to create an empty database over one that has gone missing.
    """
    is_new = not path.exists()
    if is_new and must_exist:
        raise StoreBroken(
            f"The database {path.name} is missing in {path.parent}, but it was there before. Put it back from "
            "a backup; or, to start afresh without its keys, remove the file `pepper` as well."
        )
    try:
        if is_new:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        engine = _make_engine(path)
        try:
            _check_and_migrate(engine, path, is_new)
        except BaseException:
            engine.dispose()
            if is_new:
                path.unlink(missing_ok=True)
            raise
    except (DBAPIError, sqlite3.Error) as error:
        raise StoreBroken(_diagnose(error, path)) from None
    except OSError as error:
        raise StoreBroken(f"The database {path} can't be opened: {error.strerror}.") from None
    return Database(engine, path, is_new)


@contextlib.contextmanager
def translated() -> Iterator[None]:
    """Turns every failure of the database inside the block into StoreUnavailable."""
    try:
        yield
    except (DBAPIError, PoolTimeoutError, sqlite3.Error):
        raise StoreUnavailable(
            "The key store can't be reached now. Try again shortly.", retry_after=2
        ) from None


@contextlib.contextmanager
def one_at_a_time(path: Path) -> Iterator[None]:
    """Hold a lock file, so that a server and a `keys` command never create or migrate together."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path.with_suffix(".lock"), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StoreBroken(f"The directory {path.parent} can't be written: {error.strerror}.") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _make_engine(path: Path) -> Engine:
    engine = create_engine(
        f"sqlite:///{path}",
        connect_args={"timeout": BUSY_SECONDS, "check_same_thread": False},
        pool_size=4,
        max_overflow=0,
        pool_timeout=BUSY_SECONDS,
        hide_parameters=True,
    )

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _record: object) -> None:
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.close()

    return engine


def _check_and_migrate(engine: Engine, path: Path, is_new: bool) -> None:
    with engine.connect() as connection:
        if not is_new and path.stat().st_size <= FULL_CHECK_BYTES:
            verdict = connection.execute(text("PRAGMA quick_check(1)")).scalar()
            if verdict != "ok":
                raise StoreBroken(
                    f"The database {path} is corrupt. Restore it from a backup, then start again."
                )
        revision = _read_revision(connection)
        connection.rollback()
        if revision is None and not is_new and _count_tables(connection):
            raise StoreBroken(
                f"The file {path} is not a database of Quintet. Move it away, then start again."
            )
        if revision is not None and revision > HEAD:
            raise StoreBroken(
                f"The database {path} was written by a newer version ({revision}; this one knows {HEAD}). "
                "Update Quintet, or restore an older backup."
            )
        connection.rollback()
        if revision != HEAD:
            _back_up(path, revision)
            _migrate(connection)
        connection.exec_driver_sql(
            "BEGIN IMMEDIATE"
        )  # fails here, not at the first request, if it is read-only
        connection.rollback()


def _read_revision(connection: Connection) -> str | None:
    found = connection.execute(text("SELECT name FROM sqlite_master WHERE name = 'alembic_version'")).scalar()
    if found is None:
        return None
    revision = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return None if revision is None else str(revision)


def _count_tables(connection: Connection) -> int:
    return int(connection.execute(text("SELECT count(*) FROM sqlite_master")).scalar_one())


def _back_up(path: Path, revision: str | None) -> None:
    """Copy a database that is about to be migrated next to itself."""
    if revision is None:
        return
    copy = path.with_name(f"{path.name}.before-{HEAD}")
    os.close(os.open(copy, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600))
    with (
        contextlib.closing(sqlite3.connect(path)) as source,
        contextlib.closing(sqlite3.connect(copy)) as target,
    ):
        source.backup(target)


def _migrate(connection: Connection) -> None:
    from alembic import command  # only here: most starts need no migration and save the import
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
    connection.commit()


def _diagnose(error: Exception, path: Path) -> str:
    reason = str(getattr(error, "orig", error)).lower()
    if "locked" in reason:
        return f"The database {path} is locked by another program. Close that program, then start again."
    if "readonly" in reason or "read-only" in reason:
        return (
            f"The database {path} can't be written. Give its owner write access to it and to its directory."
        )
    if "full" in reason:
        return f"The disk that holds {path} is full."
    if "unable to open" in reason:
        return f"The database {path} can't be opened. Check that it and its directory belong to this user."
    return f"The database {path} is corrupt or not a database. Restore it from a backup, then start again."
