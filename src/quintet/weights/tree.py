"""A model's directory, held open while it is judged: what lies in it, read without ever following a link."""

from __future__ import annotations

import os
import posixpath
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from quintet.weights.paths import open_beneath, open_folder
from quintet.weights.refusal import GateRefused

MAX_FILES = 4096
MAX_FOLDER_DEPTH = 6


@dataclass(frozen=True, slots=True)
class Entry:
    """One file by its name relative to the directory; `content` is where its bytes are, which a link changes."""

    name: str
    content: str
    size: int


class Tree:
    """A directory of model files; leave it as a context so that its descriptor is closed."""

    def __init__(self, directory: Path) -> None:
        try:
            self._root = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as problem:
            reason = os.strerror(problem.errno) if problem.errno else "unknown reason"
            raise GateRefused(
                ".", f"The model's directory can't be opened ({reason}).", "Check the path of the model."
            ) from None

    def __enter__(self) -> Tree:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._root)

    def open(self, entry: Entry) -> BinaryIO:
        """The bytes of a file, which is no link at this moment."""
        return os.fdopen(open_beneath(self._root, entry.content), "rb")

    def entries(self) -> tuple[Entry, ...]:
        """Every file, sorted by name; raises GateRefused for what is neither file, folder nor inner link."""
        plain: dict[str, Entry] = {}
        links: dict[str, str] = {}
        for name, target, size in self._walk():
            if target is None:
                plain[name] = Entry(name, name, size)
            else:
                links[name] = target
            if len(plain) + len(links) > MAX_FILES:
                raise GateRefused(
                    ".", f"There are more than {MAX_FILES} files.", "Keep only the files of one model here."
                )
        for name, target in links.items():
            if target not in plain:
                raise GateRefused(
                    name,
                    "This link leaves the model's directory or leads to no plain file.",
                    "Put the file itself there (`cp -rL` copies a directory with its links resolved).",
                )
        found = [*plain.values(), *(Entry(name, to, plain[to].size) for name, to in links.items())]
        _check_collisions(entry.name for entry in found)
        return tuple(sorted(found, key=lambda entry: entry.name))

    def _walk(self) -> Iterator[tuple[str, str | None, int]]:
        """Name, target if it is a link, and size of everything but folders."""
        waiting = [""]
        while waiting:
            folder = waiting.pop()
            if folder.count("/") >= MAX_FOLDER_DEPTH:
                raise GateRefused(
                    folder, f"Folders are nested deeper than {MAX_FOLDER_DEPTH}.", "Flatten the directory."
                )
            opened = open_folder(self._root, folder)
            try:
                with os.scandir(opened) as children:
                    for child in children:
                        name = f"{folder}/{child.name}" if folder else child.name
                        if child.is_symlink():
                            target = os.readlink(child.name, dir_fd=opened)
                            yield name, posixpath.normpath(posixpath.join(folder, target)), 0
                        elif child.is_dir(follow_symlinks=False):
                            waiting.append(name)
                            _check_count(waiting)
                        elif child.is_file(follow_symlinks=False):
                            yield name, None, child.stat(follow_symlinks=False).st_size
                        else:
                            raise GateRefused(
                                name,
                                "This is a device, pipe or socket.",
                                "Remove it from the model's directory.",
                            )
            except OSError:
                raise GateRefused(
                    folder, "The directory changed while it was checked.", "Try again when it is complete."
                ) from None
            finally:
                os.close(opened)


def _check_count(folders: list[str]) -> None:
    if len(folders) > MAX_FILES:
        raise GateRefused(".", f"There are more than {MAX_FILES} folders.", "Keep only one model here.")


def _check_collisions(names: Iterator[str]) -> None:
    """Two names that some file systems hold for one: the file that was checked might not be the one loaded."""
    seen: set[str] = set()
    for name in names:
        folded = unicodedata.normalize("NFC", name).casefold()
        if folded in seen:
            raise GateRefused(
                name, "Another file's name differs only in case or accents.", "Rename or remove one of them."
            )
        seen.add(folded)
