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
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from quintet.core.errors import Conflict, InsufficientStorage, InvalidRequest, LoadFailed, QuintetError
from quintet.core.events import Progress
from quintet.core.machine import memory_bytes as memory_here
from quintet.core.models import Task
from quintet.weights import gate, painting
from quintet.weights.convert import DISK_FACTOR, convert
from quintet.weights.disarm import disarm
from quintet.weights.facts import ENGINES, find_format, find_task
from quintet.weights.hub import PART, Download, Patience, Snapshot, look
from quintet.weights.json_text import parse_json
from quintet.weights.library import Installed, Library, sync
from quintet.weights.manifest import Manifest, read_manifest, record_files, write_manifest
from quintet.weights.names import wanted as names_of_model
from quintet.weights.order import Order, needs_conversion
from quintet.weights.preflight import (
    check_conversion,
    check_disk,
    check_memory,
    check_painting,
    check_task,
    check_vision,
)
from quintet.weights.progress import Counter, Report
from quintet.weights.refusal import GateRefused

DEFAULT_PRECISION = "int8"
CONTEXT_LENGTH = 2048
"""Of models whose files don't say it."""
_MAX_CONFIG_BYTES = 4 << 20
_LOOKED_INTO: frozenset[Task] = frozenset(("vision", *painting.TASKS))
"""Tasks whose engine runs some architectures only, so that a model's own files are asked."""


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
        self._memory_bytes = memory_bytes if memory_bytes is not None else memory_here()
        self._staging = library.staging(order.name)
        self._source = self._staging / "source"
        self._digests: dict[str, str] = {}

    def run(self) -> Outcome:
        """Do all of it; raises QuintetError. Somebody else's pull of the same model is waited for."""
        name = self._order.name
        try:
            with self._library.locked(name, wait=True, on_wait=lambda: self._report(Progress("wait", 0, 1))):
                self._library.recover(name)
                try:
                    return self._install()
                except GateRefused as refusal:
                    # The hub sends the same again, so nothing of it is worth keeping.
                    shutil.rmtree(self._staging, ignore_errors=True)
                    raise LoadFailed(f"{name} is refused. {refusal}", code="model_refused") from None
        except OSError as error:
            raise _explain(error) from error

    def _install(self) -> Outcome:
        if self._order.model is not None:
            check_task(self._order.name, self._order.model.task, self._order.model.architecture)
        self._report(Progress("look", 0, 1))
        here = self._installed()
        if not self._order.repo:
            return self._finish(self._copy(Path(self._order.directory)), "", "")
        snapshot = look(self._order.repo, self._order.revision)
        if here is not None and self._is_same(here.manifest, snapshot.commit):
            return Outcome(here, already=True)
        return self._finish(self._download(snapshot), snapshot.commit, snapshot.licence)

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

    def _find_task(self, format: str, names: Sequence[str], bring: Callable[[str], Path]) -> Task:
        """What the model is for; raises what could only fail after the download otherwise."""
        model = self._order.model
        if model is not None and model.task not in _LOOKED_INTO:
            return model.task
        config = self._read_small("config.json", names, bring) if format != "diffusers" else None
        task = model.task if model is not None else find_task(format, config, names)
        if task == "vision":
            check_vision(self._order.name, format, config, names)
        if task in painting.TASKS:
            described = self._read_small(painting.DESCRIBED_BY[task], names, bring)
            check_painting(self._order.name, task, format, described)
        return task

    def _read_small(self, name: str, names: Sequence[str], bring: Callable[[str], Path]) -> object:
        """What a JSON file of the model says; None if it has none of this name."""
        if name not in names:
            return None
        with bring(name).open("rb") as file:
            return parse_json(name, file.read(_MAX_CONFIG_BYTES))

    def _check(self, format: str, task: Task, sizes: Mapping[str, int], here: int) -> None:
        """Everything that can be known before the files are here; `here` is what an earlier pull has brought."""
        name, converting = self._order.name, 0
        check_task(name, task)
        weights = sum(size for file, size in sizes.items() if file.endswith((".bin", ".safetensors")))
        if self._converts(format, task):
            check_conversion(name, task, weights, self._memory_bytes)
            converting = int(weights * DISK_FACTOR)
        else:
            check_memory(name, weights, self._memory_bytes)
        free = shutil.disk_usage(self._staging).free
        check_disk(name, sum(sizes.values()) - here, free, converting=converting)

    def _converts(self, format: str, task: Task) -> bool:
        return needs_conversion(format, self._engine(task))

    def _engine(self, task: Task) -> str:
        return self._order.model.engine if self._order.model else ENGINES[task]

    def _keep_only(self, commit: str, names: Collection[str]) -> None:
        """Keep what an earlier pull of this commit has brought of these files; remove everything else."""
        mark = self._staging / "commit"
        wanted = f"{self._order.repo} {commit} {self._order.subfolder}"
        if not mark.is_file() or mark.read_text("utf-8") != wanted:
            shutil.rmtree(self._staging, ignore_errors=True)
            self._source.mkdir(parents=True)
            mark.write_text(wanted, "utf-8")
        for path in list(self._source.rglob("*")):
            if path.is_file() and path.relative_to(self._source).as_posix().removesuffix(PART) not in names:
                path.unlink()

    def _download(self, snapshot: Snapshot) -> Task:
        """Bring the files of a repository; returns what the model is for."""
        prefix = f"{self._order.subfolder}/" if self._order.subfolder else ""
        named = {file.name[len(prefix) :]: file for file in snapshot.files if file.name.startswith(prefix)}
        format = self._format(list(named))
        files = {name: named[name] for name in names_of_model(list(named), format)}
        self._keep_only(snapshot.commit, files)

        def bring(name: str) -> Path:
            first = Download(snapshot, self._source, lambda _: None, self._patience)
            first.run([(files[name], name)])
            return self._source / name

        task = self._find_task(format, list(files), bring)
        sizes = {name: file.size for name, file in files.items()}
        self._check(format, task, sizes, sum(_size_here(self._source / name, sizes[name]) for name in files))
        counter = Counter(self._report, "download", sum(sizes.values()))
        download = Download(snapshot, self._source, counter.advance, self._patience)
        self._digests = download.run([(file, name) for name, file in files.items()])
        return task

    def _copy(self, directory: Path) -> Task:
        """Bring the files of a directory; returns what the model is for."""
        if self._library.root in (directory, *directory.parents):
            raise InvalidRequest("This directory is Quintet's own; pull from where the files came from.")
        shutil.rmtree(self._staging, ignore_errors=True)
        self._source.mkdir(parents=True)
        names = [path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file()]
        format = self._format(names)
        sizes = {name: (directory / name).stat().st_size for name in names_of_model(names, format)}
        task = self._find_task(format, list(sizes), lambda name: directory / name)
        self._check(format, task, sizes, 0)
        counter = Counter(self._report, "copy", sum(sizes.values()))
        for name in sizes:
            target = self._source / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(directory / name, target)
            counter.advance(target.stat().st_size)
        return task

    def _finish(self, task: Task, commit: str, licence: str) -> Outcome:
        """From files that are all here to the installed model."""
        order = self._order
        self._report(Progress("check", 0, 1))
        for name in disarm(self._source):
            self._digests.pop(name, None)
        found = gate.inspect(self._source)
        ready, precision = self._source, order.stored_precision
        if self._converts(found.format, task):
            ready, precision = self._convert(task)
        is_converted = ready is not self._source
        size = sum(path.stat().st_size for path in ready.rglob("*") if path.is_file())
        counter = Counter(self._report, "install", size)
        manifest = Manifest(
            name=order.name,
            task=task,
            engine=self._engine(task),
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

    def _convert(self, task: Task) -> tuple[Path, str]:
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


def _explain(error: OSError) -> QuintetError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return InsufficientStorage(
            "The disk became full. What was downloaded is kept: free some space, or set QUINTET_HOME to a larger disk, "
            "and run the same pull again."
        )
    reason = os.strerror(error.errno) if error.errno else str(error)
    return LoadFailed(f"The model could not be written to the data directory: {reason}.")
