"""Who asks. Verifying a credential is the server's and the store's work."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """The party a request is admitted, metered and billed for."""

    owner: str
    key_id: str = ""
    """Public id of the key used; empty for the local principal."""
    tier: str = "free"
    admin: bool = False


LOCAL = Principal(owner="local", tier="local", admin=True)
"""Whoever reaches a loopback-bound server without a credential."""
