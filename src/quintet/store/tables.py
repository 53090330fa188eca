"""The tables of the database, as the newest migration leaves them."""

from __future__ import annotations

from sqlalchemy import Boolean, Column, Float, Index, LargeBinary, MetaData, String, Table

HEAD = "0001"
"""The newest migration; a test keeps it equal to what Alembic finds in migrations/."""

metadata = MetaData()

keys = Table(
    "keys",
    metadata,
    Column("id", String(10), primary_key=True),
    Column("hash", LargeBinary(32), nullable=False),
    Column("last4", String(4), nullable=False),
    Column("owner", String(200), nullable=False),
    Column("tier", String(40), nullable=False),
    Column("admin", Boolean, nullable=False),
    Column("label", String(200), nullable=False),
    Column("created", Float, nullable=False),
    Column("expires", Float),
    Column("revoked", Float),
    Index("keys_by_owner", "owner"),
)
"""API keys: the public id, an HMAC of the secret, and who owns it. Times are Unix seconds."""
