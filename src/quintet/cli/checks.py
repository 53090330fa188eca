"""What `quintet doctor` looks at. Every check gives findings and changes nothing."""

from __future__ import annotations

import errno
import importlib.metadata
import json
import os
import resource
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal
from urllib.parse import quote

from quintet.cli import floors
from quintet.weights.vision import COMMON_PARTS

if TYPE_CHECKING:
    from quintet.config import Settings

Level = Literal["ok", "warn", "fail"]
GIB: Final = 1024**3
OPENVINO_SECONDS: Final = 60
WEIGHTS: Final = ("openvino_model",)
"""What a model for text has, as pairs of .xml and .bin."""
PROBE: Final = """\
import json, openvino
core = openvino.Core()
names = {device: core.get_property(device, "FULL_DEVICE_NAME") for device in core.available_devices}
print(json.dumps([openvino.__version__, names]))
"""


@dataclass(frozen=True, slots=True)
class Finding:
    """One fact about the machine; `mend` says what to do about it."""

    level: Level
    text: str
    mend: str = ""


def check_python() -> Iterator[Finding]:
    """The interpreter, against its known weaknesses."""
    version = sys.version_info[:3]
    shown = ".".join(map(str, version))
    floor = floors.PYTHON.get(version[:2])
    if floor and version < floor:
        newer = ".".join(map(str, floor))
        yield Finding("warn", f"Python {shown} has known weaknesses", f"update to Python {newer} or newer")
    else:
        yield Finding("ok", f"Python {shown}")


def check_packages() -> Iterator[Finding]:
    """What is installed, against the floors."""
    old = []
    for name, (floor, reason) in floors.PACKAGES.items():
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        if floors.is_below(version, floor):
            old.append(f"{name} {version} (at least {floor}: {reason})")
    if old:
        yield Finding("fail", f"too old: {', '.join(old)}", "install the locked versions: make serve")
    else:
        yield Finding("ok", "no package is below its security floor")


def check_processor(cpuinfo: Path = Path("/proc/cpuinfo")) -> Iterator[Finding]:
    """Cores, and the instructions that make inference fast."""
    cores = len(os.sched_getaffinity(0))
    if cores < 2:
        yield Finding("warn", "1 core: server and model will share it", "give the machine two cores or more")
    else:
        yield Finding("ok", f"{cores} cores")
    try:
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    flags = {flag for line in lines if line.startswith("flags") for flag in line.split(":", 1)[-1].split()}
    if not flags:
        return
    names = {
        "avx2": "AVX2",
        "avx512f": "AVX-512",
        "avx512_vnni": "VNNI",
        "avx512_bf16": "bf16",
        "amx_tile": "AMX",
    }
    present = [shown for flag, shown in names.items() if flag in flags]
    if "avx2" in flags:
        yield Finding("ok", f"fast instructions: {', '.join(present)}")
    else:
        yield Finding(
            "warn", "the processor has no AVX2: answers will be slow", "use a processor made after 2013"
        )


def check_memory(
    meminfo: Path = Path("/proc/meminfo"), cgroup: Path = Path("/sys/fs/cgroup")
) -> Iterator[Finding]:
    """Memory that is free for models, inside a container's limit too."""
    free = _available_bytes(meminfo, cgroup)
    if free is None:
        return
    shown = f"{free / GIB:.1f} GiB of memory free"
    if free < GIB // 2:
        yield Finding("fail", shown, "the server needs 0.5 GiB with the starter model: close other programs")
    elif free < 2 * GIB:
        yield Finding("warn", shown, "enough for the starter model only; bigger models need more")
    else:
        yield Finding("ok", shown)


def _available_bytes(meminfo: Path, cgroup: Path) -> int | None:
    try:
        line = next(line for line in meminfo.read_text().splitlines() if line.startswith("MemAvailable:"))
        free = int(line.split()[1]) * 1024
    except (OSError, StopIteration, ValueError):
        return None
    try:
        limit = (cgroup / "memory.max").read_text().strip()
        used = int((cgroup / "memory.current").read_text())
    except (OSError, ValueError):
        return free
    return free if limit == "max" else min(free, max(0, int(limit) - used))


def check_open_files() -> Iterator[Finding]:
    """How many connections the system allows one process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = hard if hard == resource.RLIM_INFINITY or hard > soft else soft
    if allowed != resource.RLIM_INFINITY and allowed < 4096:
        yield Finding(
            "warn", f"only {allowed} open files are allowed: few connections", "raise it: ulimit -n 65536"
        )
    else:
        yield Finding("ok", "enough open files are allowed")


def check_home(settings: Settings) -> Iterator[Finding]:
    """The data directory: writable, private, with room on its disk."""
    home = settings.home
    existing = next(path for path in (home, *home.parents) if path.exists())
    try:
        with tempfile.NamedTemporaryFile(dir=existing, prefix=".doctor"):
            pass
    except OSError as error:
        reason = error.strerror or "not writable"
        yield Finding(
            "fail", f"{home} can't be written: {reason}", "set QUINTET_HOME to a directory of yours"
        )
        return
    yield Finding("ok", f"{home} is writable" if home.exists() else f"{home} can be made at the first start")
    if home.exists() and home.stat().st_mode & 0o022:
        yield Finding("warn", f"other users can write to {home}", f"chmod go-w {home}")
    free = shutil.disk_usage(existing).free
    if free < 100 * 1024**2:
        yield Finding(
            "fail", f"{free / GIB:.1f} GiB free on its disk", "the database can't grow: free some space"
        )
    elif free < 2 * GIB:
        yield Finding("warn", f"{free / GIB:.1f} GiB free on its disk", "models won't fit: free some space")
    else:
        yield Finding("ok", f"{free / GIB:.0f} GiB free on its disk")


def check_database(settings: Settings) -> Iterator[Finding]:
    """The database and the pepper beside it: both or none, whole, and private."""
    path, pepper = settings.database_path, settings.pepper_path
    if not path.exists() and not pepper.exists():
        yield Finding("ok", "no database yet; the first start makes it")
        return
    if not path.exists() or not pepper.exists():
        missing = path if pepper.exists() else pepper
        yield Finding(
            "fail", f"{missing.name} is missing", f"restore {missing} from a backup; keys need both files"
        )
        return
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=5)) as connection:
            verdict = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    except sqlite3.Error as error:
        verdict = str(error)
    if verdict == "ok":
        yield Finding("ok", "the database is whole")
    else:
        yield Finding("fail", f"{path.name} is damaged or locked", f"restore {path} from a backup")
    yield from (
        Finding("fail", f"other users can read {each.name}", f"chmod 600 {each}")
        for each in (path, pepper)
        if each.stat().st_mode & 0o077
    )


def check_models(settings: Settings) -> Iterator[Finding]:
    """The catalog, and whether the weights it names are there."""
    from quintet.cli import catalog as catalog_files
    from quintet.cli.failure import Failure

    try:
        catalog = catalog_files.read(settings)
    except Failure as failure:
        yield Finding("fail", str(failure), "correct that file or setting")
        return
    for model in catalog.models:
        if not model.path:
            continue
        stems = COMMON_PARTS if model.can_see else WEIGHTS
        names = ["tokenizer.json", *(stem + suffix for stem in stems for suffix in (".xml", ".bin"))]
        missing = [name for name in names if not os.access(Path(model.path) / name, os.R_OK)]
        if missing and model.engine == "text":
            mend = f"put {', '.join(missing)} into {model.path}, or install Quintet again"
            yield Finding("fail", f"the weights of {model.name} can't be read", mend)
        else:
            yield Finding("ok", f"model {model.name} is installed")


def check_port(settings: Settings) -> Iterator[Finding]:
    """Whether the address can be listened on, or a server of ours already does."""
    where = f"{settings.host}:{settings.port}"
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host, settings.port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                yield _who_listens(settings, where)
            else:
                reason = (error.strerror or "not available").lower()
                yield Finding(
                    "fail", f"{where} can't be used: {reason}", "choose another QUINTET_HOST or QUINTET_PORT"
                )
            return
    yield Finding("ok", f"{where} is free")


def _who_listens(settings: Settings, where: str) -> Finding:
    from quintet.cli.failure import Failure
    from quintet.cli.remote import Refusal, Remote
    from quintet.cli.settings import server_url

    remote = Remote(server_url(settings), patience_seconds=5)
    try:
        remote.models()
    except Refusal:
        return Finding(
            "warn", f"a server answers at {where}, but wants a key", "pass one: quintet chat --key …"
        )
    except (Failure, KeyError, ValueError):
        mend = "stop that program, or choose another port: quintet serve --port 8001"
        return Finding("fail", f"another program listens on {where}", mend)
    finally:
        remote.close()
    return Finding("ok", f"a server is running at {where}")


def check_openvino() -> Iterator[Finding]:
    """The inference runtime, loaded in a process of its own, since loading is what may crash."""
    mend = "install the locked version: make serve"
    try:
        done = subprocess.run(
            [sys.executable, "-c", PROBE],
            capture_output=True,
            text=True,
            timeout=OPENVINO_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        yield Finding("fail", f"OpenVINO did not load within {OPENVINO_SECONDS} s", mend)
        return
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        yield Finding("fail", f"OpenVINO does not load: {last}", mend)
        return
    version, names = json.loads(done.stdout.splitlines()[-1])
    yield Finding("ok", f"OpenVINO {version.split('-')[0]}")
    for device, name in names.items():
        yield Finding("ok", f"device {device}: {name}")
    if "CPU" not in names:
        yield Finding("fail", "OpenVINO finds no CPU device", mend)
