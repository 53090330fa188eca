"""The models installed on this machine: one folder each below $QUINTET_HOME/weights."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import shutil
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from quintet.core.errors import Conflict, LoadFailed, ModelNotFound
from quintet.core.models import Model
from quintet.weights.manifest import FILE_NAME, Manifest, hash_file, read_manifest

FOLDER = "weights"
STAGING = ".staging"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,95}")
_OLD, _LOCK = ".old", ".lock"
_SETTLED_SECONDS = 0.1
"""A folder changed so recently may change again without a new time stamp."""


@dataclass(frozen=True, slots=True)
class Installed:
    """One installed model."""

    folder: Path
    manifest: Manifest


class Library:
    """All installed models of one data directory. Holds no state, so any number of processes may use it."""

    def __init__(self, home: Path) -> None:
        """`home` is $QUINTET_HOME; nothing is made there before something is pulled."""
        self.root = home / FOLDER

    def folder(self, name: str) -> Path:
        """Where the model of this name lies, or would lie."""
        return self.root / _folder_name(name)

    def staging(self, name: str) -> Path:
        """Where a pull of this model keeps what is not whole yet."""
        return self.root / STAGING / _folder_name(name)

    def _aside(self, name: str, ending: str) -> Path:
        """Where something lies beside a model's staging; begins with a dot, which no model's name does."""
        return self.root / STAGING / f".{_folder_name(name)}{ending}"

    def installed(self) -> list[Installed]:
        """Every model whose manifest can be read, by name."""
        found = []
        for folder in self._folders():
            with suppress(LoadFailed):
                found.append(Installed(folder, read_manifest(folder)))
        return sorted(found, key=lambda one: one.manifest.name)

    def broken(self) -> list[str]:
        """Names of what would be a model if its manifest could be read."""
        names = []
        for folder in self._folders():
            try:
                read_manifest(folder)
            except LoadFailed:
                names.append(folder.name.replace("--", "/"))
        return names

    def _folders(self) -> list[Path]:
        try:
            return sorted(
                path for path in self.root.iterdir() if not path.name.startswith(".") and path.is_dir()
            )
        except FileNotFoundError:
            return []

    def find(self, name: str) -> Installed:
        """The installed model of this name; raises ModelNotFound."""
        folder = self.folder(name)
        if (folder / FILE_NAME).is_file():
            manifest = read_manifest(folder)
            if manifest.name == name:
                return Installed(folder, manifest)
        raise _not_installed(name)

    def stamp(self) -> tuple[int, int] | None:
        """Changes when a model comes or goes; None if nothing can be told yet, so look again."""
        try:
            facts = self.root.stat()
        except FileNotFoundError:
            return (0, 0)
        if time.time() - facts.st_mtime < _SETTLED_SECONDS:
            return None
        return (facts.st_mtime_ns, facts.st_ino)

    def remove(self, name: str) -> int:
        """Remove the model and what an unfinished pull left of it; returns the bytes freed."""
        folder, staging, gone = self.folder(name), self.staging(name), self._aside(name, _OLD)
        if self._is_anothers(name) or not any(path.exists() for path in (folder, staging, gone)):
            raise _not_installed(name)
        with self.locked(name, wait=False):
            freed = sum(_tree_bytes(path) for path in (folder, staging, gone))
            if folder.exists():
                gone.parent.mkdir(parents=True, exist_ok=True)
                shutil.rmtree(gone, ignore_errors=True)
                folder.rename(gone)  # at once, so that nobody meets half a model
                (gone / FILE_NAME).unlink(missing_ok=True)  # from here on `recover` leaves it
            for path in (gone, staging):
                shutil.rmtree(path, ignore_errors=True)
        return freed

    def _is_anothers(self, name: str) -> bool:
        """Whether the model in this folder says that it has another name; a broken one says nothing."""
        try:
            return read_manifest(self.folder(name)).name != name
        except LoadFailed:
            return False

    def replace(self, name: str, new: Path) -> Path:
        """Put a complete folder where the model is found, in place of an older one."""
        folder, old = self.folder(name), self._aside(name, _OLD)
        if folder.exists():
            shutil.rmtree(old, ignore_errors=True)
            folder.rename(old)
        new.rename(folder)
        sync(folder.parent)
        shutil.rmtree(old, ignore_errors=True)
        return folder

    def recover(self, name: str) -> None:
        """Bring back the old model if a replacement was killed between its two renames. Under the lock."""
        folder, old = self.folder(name), self._aside(name, _OLD)
        if old.is_dir() and not folder.exists() and (old / FILE_NAME).is_file():
            old.rename(folder)

    @contextmanager
    def locked(self, name: str, *, wait: bool, on_wait: Callable[[], None] | None = None) -> Iterator[None]:
        """Nobody else changes this model meanwhile; without waiting, raises Conflict if somebody does."""
        path = self._aside(name, _LOCK)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if error.errno != errno.EWOULDBLOCK:
                    raise
                if not wait:
                    raise Conflict(
                        f"{name} is being pulled just now; wait until that is over, or stop it."
                    ) from None
                if on_wait is not None:
                    on_wait()
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def verify(installed: Installed, advance: Callable[[int], None] | None = None) -> list[str]:
    """Read every file again; returns what is wrong, a line per file."""
    wrong = []
    for file in installed.manifest.files:
        path = installed.folder / file.name
        try:
            size = path.stat().st_size
            digest = hash_file(path, advance) if size == file.size else ""
        except OSError as error:
            wrong.append(f"{file.name}: can't be read: {error.strerror}")
            continue
        if size != file.size:
            wrong.append(f"{file.name}: has {size} bytes, {file.size} were installed")
        elif digest != file.sha256:
            wrong.append(f"{file.name}: has SHA-256 {digest[:12]}…, {file.sha256[:12]}… was installed")
    return wrong


def with_installed(
    models: Iterable[Model], installed: Iterable[Installed], reserved: Collection[str] = ()
) -> list[Model]:
    """The catalog's models with the paths of those that are installed, and the installed ones it doesn't know.

    What the catalog says of a model wins over what was found in its files, and a path in the catalog over the
    installed files. Of several installed models that claim an alias, one gets it; nobody gets a `reserved` one.
    """
    here = {one.manifest.name: one for one in installed}
    models = tuple(models)
    known = {model.name for model in models}
    taken = {*reserved, *here, *known}
    taken.update(alias for model in models if model.is_installed for alias in model.aliases)
    merged = []
    for model in models:
        one = here.get(model.name)
        if one is None or model.is_installed:
            merged.append(model)
            continue
        aliases = tuple(alias for alias in model.aliases if alias not in taken)
        taken.update(aliases)
        created = one.manifest.installed or model.created
        merged.append(replace(model, path=str(one.folder), aliases=aliases, created=created))
    return merged + [_model(one) for name, one in here.items() if name not in known]


def _model(one: Installed) -> Model:
    manifest = one.manifest
    return Model(
        name=manifest.name,
        task=manifest.task,
        engine=manifest.engine,
        path=str(one.folder),
        context_length=manifest.context_length,
        licence=manifest.licence,
        disk_bytes=manifest.size_bytes,
        created=manifest.installed,
    )


def sync(path: Path) -> None:
    """Have the kernel write a file or directory to the disk before anything depends on it."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _not_installed(name: str) -> ModelNotFound:
    return ModelNotFound(
        f"{name} is not installed; `quintet models list` shows what is, and `quintet pull NAME` installs a model.",
        param="model",
    )


def _folder_name(name: str) -> str:
    """One plain word: names come from callers of the API too."""
    if not _NAME.fullmatch(name):
        raise ModelNotFound(
            "No model has such a name; `quintet models list` shows those there are.", param="model"
        )
    return name.replace("/", "--").replace(":", "-")


def _tree_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
