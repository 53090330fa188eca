"""The hub: what a repository has, and its files brought here, resumed and verified. Alone imports huggingface_hub.

Downloads are our own over the hub's plain HTTP: the library's start again from zero after a killed process, and
its chunk store (hf_xet) writes no file that could be resumed.
"""

from __future__ import annotations

import errno
import os
import re
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

# ruff: noqa: E402
# Set before the import, which reads them: nobody is told what is pulled, and plain HTTP is all that is needed.
for _name in ("HF_HUB_DISABLE_TELEMETRY", "HF_HUB_DISABLE_XET", "HF_HUB_DISABLE_PROGRESS_BARS"):
    os.environ.setdefault(_name, "1")

import httpx
from huggingface_hub import HfApi, constants, errors, get_session, get_token, hf_hub_url
from huggingface_hub.utils import build_hf_headers, hf_raise_for_status  # type: ignore[attr-defined]

from quintet.core.errors import (
    Forbidden,
    InsufficientStorage,
    InvalidRequest,
    LoadFailed,
    NotFound,
    NotReady,
    QuintetError,
)
from quintet.weights.manifest import hash_file
from quintet.weights.paths import is_digest, parts_of, safe_path
from quintet.weights.refusal import GateRefused, printable

Advance = Callable[[int], None]
"""Is told how many bytes more are here; fewer if negative. Called from several threads."""

PART = ".part"
"""Ends the name of a file that is not whole yet."""
_BUSY = frozenset({408, 429, 500, 502, 503, 504})
_LONGEST_PAUSE_SECONDS = 60.0
_GIT_ID = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How hard a download tries."""

    tries: int = 6
    """So many answers in a row without a single byte; then it gives up."""
    pause_seconds: float = 0.5
    """Before the second try; twice as long before each further one."""
    at_once: int = 4
    """Files that are brought at the same time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteFile:
    """One file of a repository, and what the hub says of its bytes."""

    name: str
    size: int
    sha256: str = ""
    git_sha1: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A repository at one commit."""

    repo: str
    commit: str
    files: tuple[RemoteFile, ...]
    licence: str = ""


def look(repo: str, revision: str) -> Snapshot:
    """What the repository has at this branch, tag or commit; raises QuintetError."""
    try:
        info = HfApi(library_name="quintet").model_info(
            repo, revision=revision, files_metadata=True, timeout=constants.HF_HUB_ETAG_TIMEOUT
        )
    except (ValueError, TypeError, KeyError) as error:
        if isinstance(error, errors.HFValidationError):
            raise _explain(error, repo, revision) from error
        raise NotReady(
            f"What answers at {_endpoint()} does not speak as a hub does. Check HF_ENDPOINT.",
            code="hub_failed",
        ) from error
    except Exception as error:
        raise _explain(error, repo, revision) from error
    files = []
    for sibling in info.siblings or ():
        try:
            parts_of(sibling.rfilename)
        except GateRefused as refusal:
            raise LoadFailed(f"{repo} is refused. {refusal}", code="model_refused") from None
        large = sibling.lfs
        file = RemoteFile(
            name=sibling.rfilename,
            size=(large.size if large else sibling.size) or 0,
            sha256=large.sha256 if large else "",
            git_sha1="" if large else sibling.blob_id or "",
        )
        if not (is_digest(file.sha256) or _GIT_ID.fullmatch(file.git_sha1)):
            raise _vague(f"the hash of {file.name}")
        files.append(file)
    card = info.card_data
    licence = str(card.get("license") or "") if card is not None else ""
    if not _GIT_ID.fullmatch(info.sha or ""):
        raise _vague(f"which commit {revision} is")
    return Snapshot(repo=repo, commit=info.sha or "", files=tuple(files), licence=licence)


def _vague(what: str) -> NotReady:
    return NotReady(
        f"The hub at {_endpoint()} does not say {what}, so nothing from it can be verified. Check HF_ENDPOINT.",
        code="hub_failed",
    )


class Download:
    """Files of one snapshot on their way into a folder."""

    def __init__(self, snapshot: Snapshot, folder: Path, advance: Advance, patience: Patience) -> None:
        self._snapshot = snapshot
        self._folder = folder
        self._advance = advance
        self._patience = patience
        self._stop = threading.Event()
        self._connections: set[socket.socket] = set()

    def run(self, files: Sequence[tuple[RemoteFile, str]]) -> dict[str, str]:
        """Bring each file to its name below the folder; returns the SHA-256 of each. Raises QuintetError.

        Whatever ends it, what is here stays, and the next run goes on from there.
        """
        with ThreadPoolExecutor(self._patience.at_once, thread_name_prefix="download") as pool:
            futures = {name: pool.submit(self._bring, file, name) for file, name in files}
            try:
                wait(futures.values(), return_when=FIRST_EXCEPTION)
                failed = [future.exception() for future in futures.values() if future.done()]
            except BaseException:
                self._hurry()
                raise
            for error in failed:
                if error is not None:
                    self._hurry()
                    raise error
        return {name: future.result() for name, future in futures.items()}

    def _hurry(self) -> None:
        """Let the other threads end at once, even those that wait for bytes."""
        self._stop.set()
        for connection in list(self._connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)  # wakes the reader, which close() would not

    def _bring(self, file: RemoteFile, name: str) -> str:
        target = safe_path(self._folder, name)
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(target.name + PART)
        try:
            if target.is_file():
                # Of an earlier run; other bytes now if that was killed after it had disarmed the model.
                target.replace(part)
                self._advance(part.stat().st_size)
                with suppress(LoadFailed):
                    return self._accept(file, part, target)
            self._complete(file, part)
            return self._accept(file, part, target)
        except Exception as error:
            raise _explain(error, self._snapshot.repo, self._snapshot.commit) from error

    def _complete(self, file: RemoteFile, part: Path) -> None:
        """Ask for the rest of the file until it is whole."""
        here = part.stat().st_size if part.exists() else 0
        self._advance(here)
        idle = 0
        while here < file.size or not part.exists():
            if self._stop.is_set():
                raise NotReady("stopped")
            before, error = here, None
            try:
                self._stream(file, part, here)
            except (httpx.TransportError, _Busy) as failure:
                error = failure
            here = part.stat().st_size if part.exists() else 0
            if error is None and here <= before:
                return  # the hub has no more, whatever it said; `_accept` refuses that
            idle = 0 if error is None or here > before else idle + 1
            if idle >= self._patience.tries and error is not None:
                raise error
            if idle:
                asked = error.pause_seconds if isinstance(error, _Busy) else 0.0
                self._stop.wait(max(asked, self._patience.pause_seconds * 2 ** (idle - 1)))

    def _stream(self, file: RemoteFile, part: Path, here: int) -> None:
        headers = build_hf_headers(library_name="quintet") | {"Accept-Encoding": "identity"}
        if here:
            headers["Range"] = f"bytes={here}-"
        url = hf_hub_url(self._snapshot.repo, file.name, revision=self._snapshot.commit)
        timeout = constants.HF_HUB_DOWNLOAD_TIMEOUT
        with get_session().stream("GET", url, headers=headers, timeout=timeout) as response:
            if response.status_code in _BUSY:
                raise _Busy(response)
            if here and response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
                return
            is_rest = response.status_code == httpx.codes.PARTIAL_CONTENT
            if here and not is_rest:  # it begins anew
                part.unlink()
                self._advance(-here)
                here = 0
            hf_raise_for_status(response)
            with part.open("ab" if is_rest else "wb") as target, self._interruptible(response):
                for piece in response.iter_bytes():
                    if self._stop.is_set():
                        raise NotReady("stopped")
                    target.write(piece)
                    here += len(piece)
                    self._advance(len(piece))
                    if here > file.size:
                        return

    @contextmanager
    def _interruptible(self, response: httpx.Response) -> Iterator[None]:
        """While bytes are waited for, `_hurry` can reach the connection."""
        stream = response.extensions.get("network_stream")
        connection = stream.get_extra_info("socket") if stream is not None else None
        if connection is not None:
            self._connections.add(connection)
        try:
            yield
        finally:
            self._connections.discard(connection)

    def _accept(self, file: RemoteFile, part: Path, target: Path) -> str:
        """Give a whole file its name and return its SHA-256; if its bytes aren't the hub's, remove it: LoadFailed."""
        size = part.stat().st_size
        digest = hash_file(part)
        is_right = size == file.size and digest == (file.sha256 or digest)
        if is_right and file.git_sha1:
            is_right = hash_file(part, git=True) == file.git_sha1
        if is_right:
            part.replace(target)
            return digest
        part.unlink()
        self._advance(-size)
        hub = file.sha256[:12] or file.git_sha1[:12]
        raise LoadFailed(
            f"{file.name} came damaged: {size} bytes with SHA-256 {digest[:12]}…, but the hub has {file.size} bytes "
            f"with {hub}…. It was removed; run the same pull again.",
            code="checksum_mismatch",
        )


class _Busy(Exception):
    """The hub asks for patience."""

    def __init__(self, response: httpx.Response) -> None:
        super().__init__(f"the hub answers {response.status_code}")
        after = response.headers.get("retry-after", "")
        self.pause_seconds = min(float(after), _LONGEST_PAUSE_SECONDS) if after.isdigit() else 0.0


def _endpoint() -> str:
    """The hub's address for people: without the password it may hold."""
    return re.sub(r"(?<=//)[^/@]*@", "", HfApi().endpoint)


def _explain(error: Exception, repo: str, revision: str) -> QuintetError:
    """Any failure on the way as one line that says what to do next."""
    endpoint = _endpoint()
    token = (
        f"Make a token at {endpoint}/settings/tokens and give it as HF_TOKEN (or run `hf auth login`)"
        if get_token() is None
        else "Your token (HF_TOKEN, or the one `hf auth login` stored) was sent, but its account has no access"
    )
    match error:
        case QuintetError():
            return error
        case errors.GatedRepoError():
            return Forbidden(
                f"{repo} is gated: accept its licence at {endpoint}/{repo} first. {token}; then pull again.",
                code="gated_repo",
            )
        case errors.RepositoryNotFoundError():
            return NotFound(
                f"The hub at {endpoint} has no repository {repo}, or it is private. Check the name. {token}.",
                code="repo_not_found",
            )
        case errors.RevisionNotFoundError():
            return NotFound(
                f"{repo} has no branch, tag or commit {printable(revision)}; {endpoint}/{repo}/commits lists them.",
                code="revision_not_found",
            )
        case errors.HFValidationError():
            return InvalidRequest(f"{repo} is no repository of the hub; those are called owner/name.")
        case errors.OfflineModeIsEnabled():
            return NotReady(
                "HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE is set, so nothing is pulled from the hub. Unset it, or "
                "pull from a directory: quintet pull ./FOLDER",
                code="offline",
            )
        case httpx.InvalidURL():
            return NotReady(
                "HF_ENDPOINT is no address of a hub. Write it as https://HOST or https://HOST:PORT, or unset it.",
                code="hub_failed",
            )
        case errors.HfHubHTTPError():
            return _explain_status(error.response.status_code, endpoint)
    return _explain_machine(error, endpoint)


def _explain_status(status: int, endpoint: str) -> QuintetError:
    if status == httpx.codes.UNAUTHORIZED:
        return Forbidden(
            f"The hub at {endpoint} does not accept your token (401). Make a new one at {endpoint}/settings/tokens "
            "and give it as HF_TOKEN, or unset HF_TOKEN.",
            code="hub_token_refused",
        )
    return NotReady(f"The hub at {endpoint} answers {status}. Try again later.", code="hub_failed")


def _explain_machine(error: Exception, endpoint: str) -> QuintetError:
    """Failures of the network and of this machine."""
    if isinstance(error, httpx.RequestError | _Busy):
        kind = str(error) or type(error).__name__
        return NotReady(
            f"The hub at {endpoint} can't be reached ({kind}). What is here already is kept: check the network and "
            "HF_ENDPOINT, and run the same pull again.",
            code="hub_unreachable",
        )
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return InsufficientStorage(
            "The disk became full during the download. What is here already is kept: free some space, or set "
            "QUINTET_HOME to a larger disk, and run the same pull again."
        )
    if isinstance(error, OSError):
        return LoadFailed(f"The download could not be written: {error.strerror or error}.")
    raise error
