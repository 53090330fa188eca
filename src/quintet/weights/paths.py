"""Names of files that somebody else chose, turned into paths that can't leave their directory.

`safe_path` is for names that are about to be written or shown; whoever reads a file uses `open_beneath`, which
follows no link and therefore can't be tricked by a link that appears between the check and the use.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from pathlib import Path

from quintet.weights.refusal import GateRefused

MAX_NAME = 1024
MAX_COMPONENT_BYTES = 255

_DIGEST = re.compile(r"[0-9a-f]{64}")
_HUB_WORD = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_])?")
_HUB_MAX = 96
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def is_digest(text: str) -> bool:
    """Whether this is a SHA-256 digest as Quintet writes it: 64 small hexadecimal digits and nothing else."""
    return _DIGEST.fullmatch(text) is not None


def is_hub_id(text: str) -> bool:
    """Whether this can be a repository of a hub: NAME or OWNER/NAME, at most 96 characters."""
    words = text.split("/")
    return (
        len(text) <= _HUB_MAX
        and len(words) <= 2
        and "--" not in text
        and ".." not in text
        and not text.endswith(".git")
        and all(_HUB_WORD.fullmatch(word) for word in words)
    )


def parts_of(name: str) -> tuple[str, ...]:
    """The components of a relative name; raises GateRefused for every name that could mean another place."""
    parts = tuple(name.split("/"))
    if not name or len(name) > MAX_NAME:
        problem = f"a file's name has 1 to {MAX_NAME} characters"
    elif _CONTROL.search(name) or "\\" in name or ":" in name:
        problem = "a file's name has no control characters, backslashes or colons"
    elif any(part in ("", ".", "..") for part in parts):
        problem = "a file's name is relative and stays inside its directory"
    elif any(not _fits(part) for part in parts):
        problem = f"each part of a file's name has at most {MAX_COMPONENT_BYTES} bytes of UTF-8"
    else:
        return parts
    raise GateRefused(name, f"{problem[0].upper()}{problem[1:]}.", "Rename the file where it comes from.")


def safe_path(root: Path, name: str) -> Path:
    """Where `name` lies beneath `root`, links resolved; raises GateRefused if that is outside of it."""
    parts = parts_of(name)
    real_root = os.path.realpath(root)
    try:
        real = os.path.realpath(os.path.join(real_root, *parts))
    except OSError:
        raise _leaves(name) from None
    if os.path.commonpath((real_root, real)) != real_root or real == real_root:
        raise _leaves(name)
    return Path(real)


def open_folder(root: int, folder: str) -> int:
    """A descriptor of a folder beneath the directory `root`; no component of its name may be a link."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    here = os.dup(root)
    for part in parts_of(folder) if folder else ():
        try:
            deeper = os.open(part, flags, dir_fd=here)
        except OSError as problem:
            raise _unopened(folder, problem) from None
        finally:
            os.close(here)
        here = deeper
    return here


def open_beneath(root: int, name: str) -> int:
    """A descriptor to read a plain file beneath the directory `root`; follows no link and never waits."""
    parts = parts_of(name)
    folder = open_folder(root, "/".join(parts[:-1]))
    try:
        # Without O_NONBLOCK, opening a pipe would wait for its writer.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        file = os.open(parts[-1], flags, dir_fd=folder)
    except OSError as problem:
        raise _unopened(name, problem) from None
    finally:
        os.close(folder)
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise GateRefused(name, "This is not a plain file.", "Remove it from the model's directory.")
    return file


def _fits(part: str) -> bool:
    try:
        return len(part.encode("utf-8")) <= MAX_COMPONENT_BYTES
    except UnicodeEncodeError:
        return False


def _leaves(name: str) -> GateRefused:
    return GateRefused(
        name, "This name leads out of the model's directory.", "Put the file itself there instead of a link."
    )


def _unopened(name: str, problem: OSError) -> GateRefused:
    if problem.errno in (errno.ELOOP, errno.ENOTDIR):
        return _leaves(name)
    reason = os.strerror(problem.errno) if problem.errno else "unknown reason"
    return GateRefused(name, f"The file can't be opened ({reason}).", "Check that it exists and is readable.")
