"""A model hub on loopback: as much of its HTTP interface as downloads need, with faults on order.

with LocalHub() as hub:
    repo = hub.add("owner/name", directory)
    ...  # with HF_ENDPOINT=hub.url; huggingface_hub reads it when it is imported
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

LARGE = (".bin", ".safetensors", ".pt", ".ckpt", ".h5", ".msgpack", ".gguf")
"""Files of these kinds are kept in large-file storage, so their sha-256 is known and they are answered by redirect."""
CHUNK_BYTES = 64 * 1024
GOOD_TOKEN = "hf_good"
_API = re.compile(r"/api/models/([^/]+/[^/]+)(?:/(revision|tree)/([^/]+))?/?")
_RESOLVE = re.compile(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)")
_STORE = re.compile(r"/store/([^/]+/[^/]+)/(.+)")


@dataclass
class Faults:
    """What goes wrong with one file."""

    cut_after: int | None = None
    """Hang up after so many bytes of an answer …"""
    cuts: int = 1
    """… so many times; later answers are whole."""
    wrong_bytes: bool = False
    """Send other bytes than those the hashes are of."""
    bytes_per_second: float = 0.0
    """Send slowly; 0 = as fast as can be."""
    hold_after: int | None = None
    """Send so many bytes of a file, then nothing until `LocalHub.release` is set."""


@dataclass
class Repo:
    """One repository; `files` are contents or paths of what is served."""

    name: str
    files: dict[str, bytes | Path]
    commit: str
    gated: bool = False
    """Whoever sends no token is told to accept the licence first …"""
    accepted: bool = True
    """… and if this is False, everybody is."""
    private: bool = False
    """Whoever sends no token is told that there is no such repository."""
    claims: dict[str, dict[str, Any]] = field(default_factory=dict)
    """What the list of files says of a file against the truth: {"model.bin": {"size": 10**15}}."""
    faults: dict[str, Faults] = field(default_factory=dict)
    sent: dict[str, int] = field(default_factory=dict)
    """Bytes of each file that were sent, over all requests."""
    _known: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def sent_bytes(self) -> int:
        """Bytes of files sent in all."""
        return sum(self.sent.values())

    @property
    def size_bytes(self) -> int:
        """Size of all files."""
        return sum(_size(content) for content in self.files.values())

    def fault(self, path: str, **what: Any) -> None:
        """Let something go wrong with one file from now on."""
        self.faults[path] = Faults(**what)

    def facts(self) -> list[dict[str, Any]]:
        """The files as the hub's API lists them."""
        return [self.fact(path) | self.claims.get(path, {}) for path in sorted(self.files)]

    def fact(self, path: str) -> dict[str, Any]:
        """The truth about one file; found out once."""
        if path not in self._known:
            data = self.read(path)
            fact: dict[str, Any] = {"rfilename": path, "size": len(data), "blobId": git_sha1(data)}
            if path.endswith(LARGE):
                digest = hashlib.sha256(data).hexdigest()
                fact["lfs"] = {"sha256": digest, "size": len(data), "pointerSize": 134}
            self._known[path] = fact
        return self._known[path]

    def read(self, path: str) -> bytes:
        """The bytes of one file."""
        content = self.files[path]
        return content if isinstance(content, bytes) else content.read_bytes()


class LocalHub:
    """The hub; a context manager that listens on an ephemeral port."""

    def __init__(self, token: str = GOOD_TOKEN) -> None:
        """`token` is the only one that opens gated and private repositories; any other token is refused."""
        self.token = token
        self.repos: dict[str, Repo] = {}
        self.release = threading.Event()
        """Set it to let answers go on that are held by `Faults.hold_after`."""
        self.holding = threading.Event()
        """Set once an answer is held."""
        self.requests: list[tuple[str, str]] = []
        """Method and path of every request."""
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._server.daemon_threads = True
        self._server.hub = self  # type: ignore[attr-defined]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def url(self) -> str:
        """What HF_ENDPOINT is to be."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def environ(self, home: Path, token: str = "") -> dict[str, str]:
        """Variables for a child process that is to use this hub, and nothing of the user's own."""
        found = {"HF_ENDPOINT": self.url, "HF_HOME": str(home / "hf"), "HF_HUB_OFFLINE": "0"}
        found |= {"TRANSFORMERS_OFFLINE": "0", "NO_PROXY": "127.0.0.1"}
        return found | ({"HF_TOKEN": token} if token else {})

    def add(self, name: str, source: Path | Mapping[str, bytes | Path], **facts: Any) -> Repo:
        """A repository made of a directory or of given files."""
        if isinstance(source, Path):
            files: dict[str, bytes | Path] = {
                path.relative_to(source).as_posix(): path for path in source.rglob("*") if path.is_file()
            }
        else:
            files = dict(source)
        commit = hashlib.sha1(name.encode(), usedforsecurity=False).hexdigest()
        self.repos[name] = Repo(name, files, facts.pop("commit", commit), **facts)
        return self.repos[name]

    def __enter__(self) -> LocalHub:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.release.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)


def git_sha1(data: bytes) -> str:
    """The id git gives these bytes."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def _size(content: bytes | Path) -> int:
    return len(content) if isinstance(content, bytes) else content.stat().st_size


class _Refused(Exception):
    def __init__(self, status: int, code: str = "", message: str = "") -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    @property
    def hub(self) -> LocalHub:
        return self.server.hub  # type: ignore[attr-defined]

    def log_message(self, *_: object) -> None:
        """Tests look at `LocalHub.requests` instead."""

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append((self.command, path))
        try:
            self._route(path)
        except _Refused as refusal:
            headers = {"X-Error-Code": refusal.code, "X-Error-Message": refusal.message}
            self._send(refusal.status, b"{}", {name: value for name, value in headers.items() if value})
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def _route(self, path: str) -> None:
        if found := _API.fullmatch(path):
            repo = self._repo(found[1])
            self._check_revision(repo, found[3] or "main")
            self._send_json(repo.facts() if found[2] == "tree" else self._info(repo))
        elif found := _RESOLVE.fullmatch(path):
            self._resolve(found[1], found[2], found[3])
        elif found := _STORE.fullmatch(path):  # the storage behind the hub knows no tokens
            repo = self.hub.repos[found[1]]
            self._send_file(repo, found[2], {})
        else:
            raise _Refused(404, "", "Sorry, we can't find the page you are looking for.")

    def _info(self, repo: Repo) -> dict[str, Any]:
        return {
            "_id": repo.commit[:24],
            "id": repo.name,
            "modelId": repo.name,
            "sha": repo.commit,
            "gated": "manual" if repo.gated else False,
            "private": repo.private,
            "tags": [],
            "downloads": 0,
            "likes": 0,
            "siblings": repo.facts(),
        }

    def _repo(self, name: str) -> Repo:
        """Whoever may not know of a repository is told the same as if there were none."""
        given = self.headers.get("authorization", "").removeprefix("Bearer ")
        if given and given != self.hub.token:
            raise _Refused(401, "", "Invalid credentials in Authorization header")
        repo = self.hub.repos.get(name)
        if repo is None or (repo.private and not given):
            raise _Refused(404 if given else 401, "RepoNotFound", "Repository not found")
        return repo

    @staticmethod
    def _check_revision(repo: Repo, revision: str) -> None:
        if revision not in ("main", repo.commit):
            raise _Refused(404, "RevisionNotFound", f"Invalid rev id: {revision}")

    def _resolve(self, name: str, revision: str, path: str) -> None:
        repo = self._repo(name)
        self._check_revision(repo, revision)
        given = self.headers.get("authorization")
        if repo.gated and not (given and repo.accepted):
            raise _Refused(403 if given else 401, "GatedRepo", "Access to this model is restricted.")
        if path not in repo.files:
            raise _Refused(404, "EntryNotFound", "Entry not found")
        fact = repo.fact(path)
        headers = {"X-Repo-Commit": repo.commit, "Accept-Ranges": "bytes"}
        if "lfs" not in fact:
            self._send_file(repo, path, headers | {"ETag": f'"{fact["blobId"]}"'})
            return
        headers["X-Linked-Etag"] = f'"{fact["lfs"]["sha256"]}"'
        headers["X-Linked-Size"] = str(fact["size"])
        headers["Location"] = f"{self.hub.url}/store/{name}/{path}"
        self._send(302, b"", headers)

    def _send_file(self, repo: Repo, path: str, headers: dict[str, str]) -> None:
        data = memoryview(repo.read(path))
        faults = repo.faults.get(path, Faults())
        if faults.wrong_bytes:
            data = memoryview(bytes(byte ^ 0x55 for byte in data[:64]) + bytes(data[64:]))
        begin = 0
        if asked := re.fullmatch(r"bytes=(\d+)-", self.headers.get("range", "")):
            begin = int(asked[1])
            if begin >= len(data):
                self._send(416, b"", {"Content-Range": f"bytes */{len(data)}"})
                return
            headers = headers | {"Content-Range": f"bytes {begin}-{len(data) - 1}/{len(data)}"}
        self.send_response(206 if begin else 200)
        self._send_headers(headers, len(data) - begin)
        if self.command == "GET":
            self._send_body(repo, path, data[begin:], faults)

    def _send_body(self, repo: Repo, path: str, data: memoryview, faults: Faults) -> None:
        end = len(data)
        if faults.cut_after is not None and faults.cuts > 0 and faults.cut_after < end:
            end, self.close_connection = faults.cut_after, True
            faults.cuts -= 1
        step = CHUNK_BYTES
        if faults.bytes_per_second:
            step = min(step, max(1, int(faults.bytes_per_second / 20)))
        if faults.hold_after is not None:
            step = min(step, max(1, faults.hold_after))
        place = 0
        while place < end:
            chunk = data[place : min(place + step, end)]
            self.wfile.write(chunk)
            place += len(chunk)
            repo.sent[path] = repo.sent.get(path, 0) + len(chunk)
            if faults.bytes_per_second:
                time.sleep(len(chunk) / faults.bytes_per_second)
            if faults.hold_after is not None and place >= faults.hold_after and place < end:
                self.hub.holding.set()
                self.hub.release.wait(60)

    def _send_json(self, value: Any) -> None:
        self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        self._send_headers(headers, len(body))
        if self.command == "GET":
            self.wfile.write(body)

    def _send_headers(self, headers: dict[str, str], length: int) -> None:
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(length))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
