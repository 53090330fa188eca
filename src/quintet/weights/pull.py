"""One pull from the order to the installed model: all of it, or nothing that anybody could see.

Everything happens in a staging folder on the same disk: files are brought (and kept if the pull is killed, so that
the next one goes on from there), checked by the gate, converted if need be, described in quintet.json, written
through to the disk, and moved to their place by one rename.
"""

from __future__ import annotations

import errno
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from quintet.core.errors import Conflict, InsufficientStorage, InvalidRequest, LoadFailed, QuintetError
from quintet.core.events import Progress
from quintet.weights import gate
from quintet.weights.disarm import disarm
from quintet.weights.facts import ENGINES, find_format, find_task
from quintet.weights.hub import PART, Download, Patience, RemoteFile, Snapshot, look
from quintet.weights.library import Installed, Library, sync
from quintet.weights.manifest import Manifest, read_manifest, record_files, write_manifest
from quintet.weights.names import wanted as names_of_model
from quintet.weights.order import Order, needs_conversion
from quintet.weights.progress import Counter, Report
from quintet.weights.refusal import GateRefused
from quintet.weights.sizes import show_bytes

SPARE = 1.1
"""So many times a download's size must be free on the disk."""
DEFAULT_PRECISION = "int8"
CONTEXT_LENGTH = 2048
"""Of models whose files don't say it."""
_BYTES_PER_WEIGHT = {"int8": 1.0, "int4": 0.6, "fp16": 2.0}


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a pull ended."""

    installed: Installed
    already: bool
    """Whether the model was installed before, so that nothing was done."""


class Pull:
    """The installation of one model."""

    def __init__(
        self,
        library: Library,
        order: Order,
        report: Report,
        *,
        patience: Patience | None = None,
        memory_bytes: int | None = None,
    ) -> None:
        """`memory_bytes` is what a model may take here; None = all that this machine has."""
        self._library = library
        self._order = order
        self._report = report
        self._patience = patience or Patience()
        self._memory_bytes = memory_bytes if memory_bytes is not None else machine_memory_bytes()
        self._staging = library.staging(order.name)
        self._source = self._staging / "source"
        self._digests: dict[str, str] = {}

    def run(self) -> Outcome:
        """Do all of it; raises QuintetError. Somebody else's pull of the same model is waited for."""
        name = self._order.name
        try:
            with self._library.locked(name, wait=True, on_wait=lambda: self._report(Progress("wait", 0, 1))):
                self._library.recover(name)
                return self._install()
        except GateRefused as refusal:
            # The hub sends the same again, so nothing of it is worth keeping.
            shutil.rmtree(self._staging, ignore_errors=True)
            raise LoadFailed(f"{name} is refused. {refusal}", code="model_refused") from None
        except OSError as error:
            raise _explain(error) from error

    def _install(self) -> Outcome:
        self._report(Progress("look", 0, 1))
        here = self._installed()
        if self._order.repo:
            snapshot = look(self._order.repo, self._order.revision)
            if here is not None and self._is_same(here.manifest, snapshot.commit):
                return Outcome(here, already=True)
            files = self._choose(snapshot)
            self._check_disk(snapshot.commit, files)
            self._check_memory({name: file.size for file, name in files})
            self._download(snapshot, files)
            return self._finish(snapshot.commit, snapshot.licence)
        self._copy(Path(self._order.directory))
        return self._finish("", "")

    def _installed(self) -> Installed | None:
        folder = self._library.folder(self._order.name)
        if not folder.exists():
            return None
        try:
            manifest = read_manifest(folder)
        except LoadFailed:
            return None
        if manifest.name != self._order.name:
            raise Conflict(
                f"{self._order.name} and the installed {manifest.name} would share a folder; remove one."
            )
        return Installed(folder, manifest)

    def _is_same(self, manifest: Manifest, commit: str) -> bool:
        wanted = self._order.precision
        same_place = (manifest.repo, manifest.subfolder) == (self._order.repo, self._order.subfolder)
        is_default = not wanted and (not manifest.converted_from or manifest.precision == DEFAULT_PRECISION)
        return same_place and manifest.revision == commit and (is_default or manifest.precision == wanted)

    def _choose(self, snapshot: Snapshot) -> list[tuple[RemoteFile, str]]:
        """The files worth bringing, and their names here."""
        prefix = f"{self._order.subfolder}/" if self._order.subfolder else ""
        named = {file.name[len(prefix) :]: file for file in snapshot.files if file.name.startswith(prefix)}
        if not named:
            raise InvalidRequest(f"{snapshot.repo} has no files{' in ' + prefix if prefix else ''}.")
        names = list(named)
        wanted = names_of_model(names, self._format(names))
        return [(named[name], name) for name in wanted]

    def _format(self, names: Sequence[str]) -> str:
        """What the source has; raises InvalidRequest if it can't be had in the precision asked for."""
        order = self._order
        found = order.format or find_format(names)
        if order.precision and found != "safetensors" and order.precision != order.stored_precision:
            stored = order.stored_precision or found
            raise InvalidRequest(
                f"{order.name} comes in {stored} and can't be converted to {order.precision}. Leave --precision out, "
                "or name a source that has safetensors."
            )
        return found

    def _check_disk(self, commit: str, files: Sequence[tuple[RemoteFile, str]]) -> None:
        """Raise InsufficientStorage before anything is brought that can't be kept."""
        self._keep_only(commit)
        total = sum(file.size for file, _ in files)
        missing = total - sum(_size_here(self._source / name, file.size) for file, name in files)
        is_converted = any(name.endswith(".safetensors") for _, name in files) and self._converts(
            "safetensors"
        )
        converted = (
            total * _BYTES_PER_WEIGHT[self._order.precision or DEFAULT_PRECISION] / 2 if is_converted else 0
        )
        needed = int((missing + converted) * SPARE)
        free = shutil.disk_usage(self._staging).free
        if needed > free:
            also = f" and {show_bytes(converted)} more while it is converted" if converted else ""
            raise InsufficientStorage(
                f"{self._order.name} needs {show_bytes(needed)} of disk ({show_bytes(missing)} to download{also}, and "
                f"a tenth to spare), but only {show_bytes(free)} are free there. Free some space, or set QUINTET_HOME "
                "to a larger disk.",
                facts={"needed": needed, "free": free},
            )

    def _check_memory(self, sizes: Mapping[str, int]) -> None:
        """Raise LoadFailed for weights that this machine can never hold; a conversion judges by itself."""
        weights = {name: size for name, size in sizes.items() if name.endswith((".bin", ".safetensors"))}
        size = sum(weights.values())
        is_converted = any(name.endswith(".safetensors") for name in weights) and self._converts(
            "safetensors"
        )
        if not is_converted and size > self._memory_bytes:
            raise LoadFailed(
                f"The weights of {self._order.name} take {show_bytes(size)} of memory, but there are "
                f"{show_bytes(self._memory_bytes)} here. Choose a smaller model or another --precision.",
                code="insufficient_memory",
                facts={"needed": size, "memory": self._memory_bytes},
            )

    def _keep_only(self, commit: str) -> None:
        """Keep what an earlier pull of this commit has brought; remove everything else."""
        mark = self._staging / "commit"
        wanted = f"{self._order.repo} {commit} {self._order.subfolder}"
        if not mark.is_file() or mark.read_text("utf-8") != wanted:
            shutil.rmtree(self._staging, ignore_errors=True)
            self._source.mkdir(parents=True)
            mark.write_text(wanted, "utf-8")

    def _download(self, snapshot: Snapshot, files: Sequence[tuple[RemoteFile, str]]) -> None:
        counter = Counter(self._report, "download", sum(file.size for file, _ in files))
        # The small ones first: a broken or foreign config is then found out before gigabytes are here.
        ordered = sorted(files, key=lambda pair: pair[0].size)
        download = Download(snapshot, self._source, counter.advance, self._patience)
        self._digests = download.run(ordered)

    def _copy(self, directory: Path) -> None:
        """Bring the files of a directory."""
        if self._library.root in (directory, *directory.parents):
            raise InvalidRequest("This directory is Quintet's own; pull from where the files came from.")
        shutil.rmtree(self._staging, ignore_errors=True)
        self._source.mkdir(parents=True)
        names = [path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file()]
        wanted = [name for name in names_of_model(names, self._format(names)) if not name.endswith(PART)]
        total = sum((directory / name).stat().st_size for name in wanted)
        free = shutil.disk_usage(self._staging).free
        if total * SPARE > free:
            raise InsufficientStorage(
                f"{self._order.name} needs {show_bytes(total * SPARE)} of disk, but only {show_bytes(free)} are free."
            )
        self._check_memory({name: (directory / name).stat().st_size for name in wanted})
        counter = Counter(self._report, "copy", total)
        for name in wanted:
            target = self._source / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(directory / name, target)
            counter.advance(target.stat().st_size)

    def _finish(self, commit: str, licence: str) -> Outcome:
        """From files that are all here to the installed model."""
        order = self._order
        self._report(Progress("check", 0, 1))
        for name in disarm(self._source):
            self._digests.pop(name, None)
        found = gate.inspect(self._source)
        task = order.model.task if order.model else find_task(found)
        engine = order.model.engine if order.model else ENGINES[task]
        ready, precision = self._source, order.stored_precision
        if needs_conversion(found.format, engine):
            ready, precision = self._convert(task)
        is_converted = ready is not self._source
        size = sum(path.stat().st_size for path in ready.rglob("*") if path.is_file())
        counter = Counter(self._report, "install", size)
        manifest = Manifest(
            name=order.name,
            task=task,
            engine=engine,
            format="openvino" if is_converted else found.format,
            files=record_files(ready, {} if is_converted else self._digests, counter.advance),
            precision=precision,
            context_length=order.model.context_length
            if order.model
            else found.context_length or CONTEXT_LENGTH,
            repo=order.repo,
            revision=commit,
            subfolder=order.subfolder,
            converted_from=found.format if is_converted else "",
            licence=order.model.licence if order.model else licence,
            installed=int(time.time()),
        )
        return Outcome(self._publish(ready, manifest), already=False)

    def _converts(self, format: str) -> bool:
        """Whether files of this format will be converted, as far as that is known before they are here."""
        return needs_conversion(format, self._order.model.engine if self._order.model else "text")

    def _convert(self, task: str) -> tuple[Path, str]:
        from quintet.weights.convert import convert

        target = self._staging / "converted"
        shutil.rmtree(target, ignore_errors=True)
        precision = self._order.precision or DEFAULT_PRECISION
        for scratch in self._staging.glob(".converting-*"):  # of a pull that was killed
            shutil.rmtree(scratch, ignore_errors=True)

        def report(_stage: str, done: float, total: float) -> None:
            self._report(Progress("convert", done, total))

        convert(self._source, target, task=task, precision=precision, report=report)
        self._report(Progress("check", 0, 1))
        gate.inspect(target)
        return target, precision

    def _publish(self, ready: Path, manifest: Manifest) -> Installed:
        write_manifest(ready, manifest)
        for path in ready.rglob("*"):
            sync(path)
        sync(ready)
        folder = self._library.replace(manifest.name, ready)
        shutil.rmtree(self._staging, ignore_errors=True)
        return Installed(folder, manifest)


def _size_here(path: Path, size: int) -> int:
    """How much of a file an earlier pull has brought."""
    for found in (path, path.with_name(path.name + PART)):
        if found.is_file():
            return min(found.stat().st_size, size)
    return 0


def machine_memory_bytes() -> int:
    """The memory that this machine has, or that its control group may use."""
    found = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    with suppress(OSError, ValueError):
        found = min(found, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return found


def _explain(error: OSError) -> QuintetError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return InsufficientStorage(
            "The disk became full. What was downloaded is kept: free some space, or set QUINTET_HOME to a larger disk, "
            "and run the same pull again."
        )
    reason = os.strerror(error.errno) if error.errno else str(error)
    return LoadFailed(f"The model could not be written to the data directory: {reason}.")
