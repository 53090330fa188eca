"""What lies in an installed model's folder: where it came from, and the size and SHA-256 of every file."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import msgspec

from quintet.core.errors import LoadFailed
from quintet.core.models import Task

FILE_NAME = "quintet.json"
_BLOCK_BYTES = 1 << 20


class FileRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One file of a model; `name` is relative to the model's folder."""

    name: str
    size: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """An installed model, as quintet.json says it."""

    name: str
    task: Task
    engine: str
    format: str
    """What the files are: openvino, diffusers, …"""
    files: tuple[FileRecord, ...]
    precision: str = ""
    """What the weights are stored in; empty = whatever they came in."""
    context_length: int = 2048
    repo: str = ""
    """Owner/name on the hub; empty if it came from a directory."""
    revision: str = ""
    """The commit that was pulled."""
    subfolder: str = ""
    converted_from: str = ""
    """The format that was pulled, if it was converted."""
    licence: str = ""
    installed: int = 0
    """Unix time."""
    version: int = 1

    @property
    def size_bytes(self) -> int:
        """Size of all files."""
        return sum(file.size for file in self.files)


def read_manifest(folder: Path) -> Manifest:
    """The manifest in this folder; raises LoadFailed."""
    try:
        return msgspec.json.decode((folder / FILE_NAME).read_bytes(), type=Manifest)
    except OSError as error:
        raise LoadFailed(f"{FILE_NAME} can't be read: {error.strerror}. Pull the model again.") from None
    except msgspec.DecodeError as error:
        raise LoadFailed(f"{FILE_NAME} is broken: {error}. Pull the model again.") from None


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write it where `read_manifest` finds it, for people to read too."""
    text = msgspec.json.format(msgspec.json.encode(manifest), indent=2)
    (folder / FILE_NAME).write_bytes(text + b"\n")


def record_files(
    folder: Path, known: dict[str, str], advance: Callable[[int], None]
) -> tuple[FileRecord, ...]:
    """Every file below `folder`; `known` has the SHA-256 of those that were hashed already."""
    records = []
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if not path.is_file() or name == FILE_NAME:
            continue
        size = path.stat().st_size
        if name in known:
            advance(size)
        digest = known.get(name) or hash_file(path, advance)
        records.append(FileRecord(name=name, size=size, sha256=digest))
    return tuple(records)


def hash_file(path: Path, advance: Callable[[int], None] | None = None, *, git: bool = False) -> str:
    """The SHA-256 of a file, or the id that git gives it; `advance` is told of every piece read."""
    digest = hashlib.sha1(usedforsecurity=False) if git else hashlib.sha256()
    with path.open("rb") as file:
        if git:
            digest.update(b"blob %d\0" % os.fstat(file.fileno()).st_size)
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
            if advance is not None:
                advance(len(block))
    return digest.hexdigest()
