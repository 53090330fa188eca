"""Model files that an operator put on this machine are judged by the static gate before anything loads them.

What was pulled was judged before it was installed, and what ships when it was made. The judging is done in a child
process, for it may take the memory of a large vocabulary.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from contextlib import suppress
from pathlib import Path

import quintet
from quintet.core.errors import LoadFailed
from quintet.core.machine import free_memory_bytes
from quintet.core.models import Model
from quintet.runtime.process import worker_environment
from quintet.weights.library import Library

log = logging.getLogger(__name__)


class Inspector:
    """Asks the gate about the directories that a catalog table of this machine names by path."""

    def __init__(self, home: Path) -> None:
        """`home` is the data directory; what was pulled into it needs no second look."""
        self._trusted = (Library(home).root, Path(quintet.__file__).parent)

    async def check(self, model: Model) -> None:
        """Return at once for models that need no check; raises LoadFailed for files that must not be loaded."""
        if not model.path or model.engine == "upstream":  # a foreign server reads formats of its own
            return
        path = self._find_untrusted(model.path)
        if path:
            await _ask_gate(model.name, path)

    def _find_untrusted(self, path: str) -> str:
        """Where the path leads, links resolved; empty if that is among the files judged before."""
        real = os.path.realpath(path)
        is_trusted = any(Path(real).is_relative_to(os.path.realpath(place)) for place in self._trusted)
        return "" if is_trusted else real


async def _ask_gate(name: str, path: str) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "quintet.weights.gate", path, str(free_memory_bytes())),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        env=worker_environment(os.environ),
        start_new_session=True,
    )
    try:
        _, said = await process.communicate()
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
    if process.returncode == 0:
        return
    lines = said.decode("utf-8", "replace").splitlines()
    if process.returncode == 1 and len(lines) == 1:
        raise LoadFailed(f"{name} is refused. {lines[0]}", code="model_refused")
    log.error("the files of model %s: the gate ended with status %s: %s", name, process.returncode, lines)
    raise LoadFailed(f"The files of {name} could not be checked; the server's log says why.")
