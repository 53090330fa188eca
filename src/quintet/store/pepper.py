"""The pepper: a random secret in a file of its own, without which a copied database verifies no key."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from quintet.store.database import StoreBroken

PEPPER_BYTES = 32


def read_pepper(path: Path) -> bytes | None:
    """The pepper, or None if there is none yet; raises StoreBroken if it is unusable or open to others."""
    try:
        mode = path.stat().st_mode
        content = path.read_text("ascii").strip()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError):
        raise StoreBroken(
            f"The pepper {path} can't be read. Give this user read access, or restore it."
        ) from None
    if mode & 0o077:
        raise StoreBroken(f"Other users can read the pepper {path}. Run: chmod 600 {path}")
    try:
        pepper = bytes.fromhex(content)
    except ValueError:
        pepper = b""
    if len(pepper) < PEPPER_BYTES:
        raise StoreBroken(
            f"The pepper {path} is damaged. Restore it from a backup; without it no key is valid."
        )
    return pepper


def create_pepper(path: Path) -> bytes:
    """Write a new pepper that only this user can read. The caller makes sure that nobody else does so now."""
    pepper = secrets.token_bytes(PEPPER_BYTES)
    unfinished = path.with_name(f"{path.name}.new")
    unfinished.unlink(missing_ok=True)
    try:
        descriptor = os.open(unfinished, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(pepper.hex() + "\n")
            file.flush()
            os.fsync(file.fileno())
        unfinished.rename(path)
    except OSError as error:
        raise StoreBroken(f"The pepper {path} can't be written: {error.strerror}.") from None
    return pepper
