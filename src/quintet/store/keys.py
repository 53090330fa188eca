"""API keys: made once, shown once, and verified by an HMAC that only the holder of the pepper can compute.

A key is `qt_<id>_<secret>`: ten public characters to look it up by, and 43 secret ones (256 bits). The
database keeps HMAC-SHA-256(pepper, secret), so a fast hash is enough and a copied database is worth nothing.
"""

from __future__ import annotations

import hmac
import re
import secrets
import string
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Row, func, insert, select, update

from quintet.core.identity import Principal
from quintet.store.database import Database, StoreBroken, one_at_a_time, open_database
from quintet.store.pepper import create_pepper, read_pepper
from quintet.store.tables import keys

ALPHABET = string.digits + string.ascii_letters
ID_LENGTH, SECRET_LENGTH = 10, 43
_KEY = re.compile(rf"qt_([0-9A-Za-z]{{{ID_LENGTH}}})_([0-9A-Za-z]{{{SECRET_LENGTH}}})", re.ASCII)
_NOTHING = bytes(32)


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """What the database knows of one key; never the secret. Times are Unix seconds."""

    id: str
    hash: bytes
    last4: str
    owner: str
    tier: str
    admin: bool
    label: str
    created: float
    expires: float | None
    revoked: float | None

    def is_valid(self, now: float) -> bool:
        """Whether it still opens the door: not revoked, and before its expiry."""
        return self.revoked is None and (self.expires is None or now < self.expires)

    @property
    def principal(self) -> Principal:
        """Who asks with this key."""
        return Principal(owner=self.owner, key_id=self.id, tier=self.tier, admin=self.admin)


def split_key(token: str) -> tuple[str, str] | None:
    """The id and the secret of a well-formed key, or None."""
    match = _KEY.fullmatch(token)
    return (match[1], match[2]) if match else None


class KeyStore:
    """The keys in one database. Its methods block; the server calls them off its event loop."""

    def __init__(self, database: Database, pepper: bytes, clock: Callable[[], float] = time.time) -> None:
        """`clock` gives Unix seconds."""
        self.database = database
        self._pepper = pepper
        self._clock = clock

    def create(
        self,
        owner: str,
        *,
        label: str = "",
        tier: str = "free",
        admin: bool = False,
        valid_seconds: float | None = None,
    ) -> str:
        """Make a key and return it; this is the only time its secret is seen. Raises ValueError on a bad owner."""
        if not owner.strip() or len(owner) > 200 or not owner.isprintable():
            raise ValueError("The owner of a key must be 1 to 200 printable characters.")
        if len(label) > 200 or not (label == "" or label.isprintable()):
            raise ValueError("The label of a key must be at most 200 printable characters.")
        if valid_seconds is not None and not valid_seconds > 0:
            raise ValueError("A key must be valid for more than 0 seconds.")
        key_id = "".join(secrets.choice(ALPHABET) for _ in range(ID_LENGTH))
        secret = "".join(secrets.choice(ALPHABET) for _ in range(SECRET_LENGTH))
        now = self._clock()
        with self.database.writing() as connection:
            connection.execute(
                insert(keys).values(
                    id=key_id,
                    hash=self.digest(secret),
                    last4=secret[-4:],
                    owner=owner,
                    tier=tier,
                    admin=admin,
                    label=label,
                    created=now,
                    expires=None if valid_seconds is None else now + valid_seconds,
                    revoked=None,
                )
            )
        return f"qt_{key_id}_{secret}"

    def list(self) -> list[Key]:
        """All keys, oldest first."""
        with self.database.reading() as connection:
            rows = connection.execute(select(keys).order_by(keys.c.created, keys.c.id)).all()
        return [_from_row(row) for row in rows]

    def count(self) -> int:
        """How many keys there are, revoked ones included."""
        with self.database.reading() as connection:
            return int(connection.execute(select(func.count()).select_from(keys)).scalar_one())

    def find(self, key_id: str) -> Key | None:
        """One key by its public id."""
        with self.database.reading() as connection:
            row = connection.execute(select(keys).where(keys.c.id == key_id)).one_or_none()
        return None if row is None else _from_row(row)

    def revoke(self, key_id: str) -> bool:
        """Make a key useless from now on; False if there is none with this id. Revoking twice changes nothing."""
        if self.find(key_id) is None:
            return False
        with self.database.writing() as connection:
            connection.execute(
                update(keys)
                .where(keys.c.id == key_id, keys.c.revoked.is_(None))
                .values(revoked=self._clock())
            )
        return True

    def verify(self, token: str) -> Principal | None:
        """Who holds this key, or None if it opens nothing; raises StoreUnavailable."""
        parts = split_key(token)
        if parts is None:
            return None
        return self.match(self.find(parts[0]), parts[1])

    def match(self, key: Key | None, secret: str) -> Principal | None:
        """Compare a secret with a key; does the same work for a key that does not exist."""
        is_same = hmac.compare_digest(self.digest(secret), _NOTHING if key is None else key.hash)
        if key is None or not is_same or not key.is_valid(self._clock()):
            return None
        return key.principal

    def digest(self, secret: str) -> bytes:
        """What the database keeps of a secret."""
        return hmac.digest(self._pepper, secret.encode(), "sha256")


def open_key_store(database_path: Path, pepper_path: Path) -> KeyStore:
    """Open the keys of a server, making an empty store at the first run; raises StoreBroken.

    Database and pepper belong together: one without the other means that something was lost, and starting
    over silently would lock everybody out.
    """
    with one_at_a_time(database_path):
        pepper = read_pepper(pepper_path)
        database = open_database(database_path, must_exist=pepper is not None)
        try:
            if pepper is None:
                if KeyStore(database, b"").count():
                    raise StoreBroken(
                        f"The pepper {pepper_path} is missing, so no key can be verified. Restore it from a backup; "
                        f"or, to start afresh without keys, move {database_path.name} away."
                    )
                pepper = create_pepper(pepper_path)
        except BaseException:
            database.close()
            raise
    return KeyStore(database, pepper)


def _from_row(row: Row[tuple[object, ...]]) -> Key:
    return Key(**row._mapping)
