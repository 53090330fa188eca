"""Finished files behind links: who finds them, for how long, how many, and what stays on disk."""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from quintet.core.errors import InsufficientStorage, NotFound
from quintet.core.events import Media
from quintet.dialects.base import Reply
from quintet.server.addresses import AddressBook
from quintet.server.exchange import Exchange
from quintet.server.files import Files, origin

PNG = Media("image/png", b"\x89PNG picture")


class Clock:
    """Time that passes when told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def exchange(name: str = "", headers: dict[str, str] | None = None, **scope: Any) -> Exchange:
    pairs = [(key.encode(), value.encode()) for key, value in (headers or {}).items()]
    full = {"path_params": {"name": name}, "headers": pairs, "scheme": "http", "client": ("9.9.9.9", 1)}
    return Exchange(scope={**full, **scope}, request_id="r", started=0.0)


def run(folder: Path, work: Callable[[Files, Clock], Awaitable[None]], **more: Any) -> None:
    async def go() -> None:
        clock = Clock()
        files = Files(folder, **{"keep_seconds": 60.0, "max_bytes": 100, "clock": clock, **more})
        try:
            await work(files, clock)
        finally:
            files.close()
        assert files.held_bytes == 0

    asyncio.run(go())
    assert not folder.exists() or not list(folder.iterdir())


async def show(files: Files, path: str) -> Reply:
    return await files.show(exchange(path.removeprefix("/files/")))


def on_disk(folder: Path) -> list[bytes]:
    return sorted(path.read_bytes() for path in folder.glob("*/*") if path.name != "lock")


def test_a_file_comes_back_as_it_was(tmp_path: Path) -> None:
    async def work(files: Files, clock: Clock) -> None:
        path = files.publish(PNG)
        assert re.fullmatch(r"/files/[A-Za-z0-9_-]{43}\.png", path)
        clock.now += 10.5
        assert await show(files, path) == Reply(
            body=PNG.data, content_type="image/png", headers=(("cache-control", "private, max-age=49"),)
        )

    run(tmp_path / "files", work)


@pytest.mark.parametrize(
    ("mime", "suffix", "shown"),
    [
        ("image/gif", ".gif", "image/gif"),
        ("image/webp", ".webp", "image/webp"),
        ("video/mp4", ".mp4", "video/mp4"),
        ("image/svg+xml", "", "application/octet-stream"),
        ("text/html", "", "application/octet-stream"),
    ],
)
def test_types(tmp_path: Path, mime: str, suffix: str, shown: str) -> None:
    async def work(files: Files, clock: Clock) -> None:
        path = files.publish(Media(mime, b"data"))
        assert path.endswith(suffix)
        assert (await show(files, path)).content_type == shown

    run(tmp_path, work)


def test_nobody_finds_what_is_not_theirs(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")

    async def work(files: Files, clock: Clock) -> None:
        paths = {files.publish(PNG) for _ in range(5)}
        assert len(paths) == 5
        (folder,) = (tmp_path / "files").iterdir()
        name = next(iter(paths)).removeprefix("/files/")
        for guess in ("", "1", "lock", "../secret", f"{folder}/1", name[:-1], name.upper(), name + "\0", "."):
            with pytest.raises(NotFound):
                await show(files, guess)

    run(tmp_path / "files", work)


def test_files_go_when_their_time_is_over(tmp_path: Path) -> None:
    async def work(files: Files, clock: Clock) -> None:
        first = files.publish(PNG)
        clock.now += 30
        second = files.publish(Media("image/png", b"other"))
        clock.now += 30
        with pytest.raises(NotFound):
            await show(files, first)
        assert on_disk(tmp_path) == [b"other"]
        assert files.held_bytes == 5
        assert (await show(files, second)).headers == (("cache-control", "private, max-age=30"),)

    run(tmp_path, work)


def test_files_go_although_nobody_asks(tmp_path: Path) -> None:
    async def work(files: Files, clock: Clock) -> None:
        files.publish(PNG)
        files.publish(PNG)
        async with asyncio.timeout(5):
            while on_disk(tmp_path):  # noqa: ASYNC110  # the disk has no events
                await asyncio.sleep(0.01)
        assert files.held_bytes == 0

    run(tmp_path, work, keep_seconds=0.05, clock=time.monotonic)


def test_beyond_the_cap_the_oldest_go_first(tmp_path: Path) -> None:
    async def work(files: Files, clock: Clock) -> None:
        paths = [files.publish(Media("image/png", bytes([n]) * 40)) for n in range(3)]
        assert files.held_bytes == 80
        assert on_disk(tmp_path) == [bytes([n]) * 40 for n in (1, 2)]
        with pytest.raises(NotFound):
            await show(files, paths[0])
        files.publish(Media("image/png", bytes(100)))
        assert on_disk(tmp_path) == [bytes(100)]
        with pytest.raises(InsufficientStorage):
            files.publish(Media("image/png", bytes(101)))
        assert on_disk(tmp_path) == [bytes(100)], "what is too large pushes nothing out"

    run(tmp_path, work)


def test_a_disk_that_takes_nothing(tmp_path: Path) -> None:
    (tmp_path / "files").write_text("in the way")
    files = Files(tmp_path / "files", keep_seconds=60, max_bytes=100)
    with pytest.raises(InsufficientStorage, match="can't keep files just now"):
        files.publish(PNG)
    files.close()


def test_a_file_that_somebody_removed(tmp_path: Path) -> None:
    async def work(files: Files, clock: Clock) -> None:
        path = files.publish(PNG)
        next(found for found in tmp_path.glob("*/*") if found.name != "lock").unlink()
        with pytest.raises(NotFound):
            await show(files, path)
        clock.now += 61
        files.publish(PNG)

    run(tmp_path, work)


def test_only_its_owner_may_look(tmp_path: Path) -> None:
    async def work(files: Files, clock: Clock) -> None:
        files.publish(PNG)
        for path in (tmp_path / "files", *(tmp_path / "files").rglob("*")):
            assert path.stat().st_mode & 0o077 == 0, path

    run(tmp_path / "files", work)


def test_leftovers_of_the_dead_alone_are_removed(tmp_path: Path) -> None:
    async def work(files: Files, clock: Clock) -> None:
        path = files.publish(PNG)
        dead = tmp_path / "0123456789abcdef"
        dead.mkdir()
        (dead / "lock").touch()
        (dead / "1").write_bytes(b"old")
        (tmp_path / "stray").mkdir()
        (tmp_path / "link").symlink_to("/tmp", target_is_directory=True)
        Files(tmp_path, keep_seconds=1, max_bytes=1).clear_leftovers()
        assert (await show(files, path)).body == PNG.data, "its server lives"
        assert not dead.exists()
        assert not (tmp_path / "stray").exists()
        assert os.path.isdir("/tmp")
        (tmp_path / "link").unlink()

    run(tmp_path, work)
    Files(tmp_path / "never", keep_seconds=1, max_bytes=1).clear_leftovers()


def test_closing_twice(tmp_path: Path) -> None:
    async def work(files: Files, clock: Clock) -> None:
        files.publish(PNG)
        files.close()
        files.close()

    run(tmp_path, work)


# --------------------------------------------------------------------------------------------------- absolute links

PROXIED = {"host": "inside:8000", "x-forwarded-proto": "https", "x-forwarded-host": "api.example.org"}


@pytest.mark.parametrize(
    ("trusted", "headers", "expected"),
    [
        ((), {"host": "127.0.0.1:8000"}, "http://127.0.0.1:8000"),
        ((), PROXIED, "http://inside:8000"),
        (("9.9.9.0/24",), PROXIED, "https://api.example.org"),
        (("10.0.0.0/8",), PROXIED, "http://inside:8000"),
        # The nearest proxy has the last word; what stands before it came from further away.
        (
            ("9.9.9.9",),
            {
                **PROXIED,
                "x-forwarded-host": "evil.example, api.example.org",
                "x-forwarded-proto": "ftp, https",
            },
            "https://api.example.org",
        ),
        (("9.9.9.9",), {**PROXIED, "x-forwarded-proto": "javascript"}, "http://api.example.org"),
        (("9.9.9.9",), {**PROXIED, "x-forwarded-host": "a/b?c@d"}, "https://inside:8000"),
        (("9.9.9.9",), {**PROXIED, "x-forwarded-host": "[2001:db8::1]:8443"}, "https://[2001:db8::1]:8443"),
        (("9.9.9.9",), {"host": "inside"}, "http://inside"),
    ],
)
def test_origin(trusted: tuple[str, ...], headers: dict[str, str], expected: str) -> None:
    assert origin(exchange(headers=headers), AddressBook(trusted)) == expected


def test_links_begin_with_what_the_operator_says(tmp_path: Path) -> None:
    async def work(files: Files, clock: Clock) -> None:
        link = files.publisher(exchange(headers=PROXIED), AddressBook(()))(PNG)
        assert re.fullmatch(r"https://cdn\.example\.org/q/files/[A-Za-z0-9_-]{43}\.png", link)

    run(tmp_path, work, base_url="https://cdn.example.org/q/")


def test_writing_a_picture_does_not_hold_up_the_others(tmp_path: Path) -> None:
    """Files may be written from any thread, while the event loop gives out others and old ones go."""

    async def work(files: Files, clock: Clock) -> None:
        publish = files.publisher(exchange(headers={"host": "a"}), AddressBook(()))
        picture = Media("image/png", os.urandom(2**20))
        small = publish(PNG).removeprefix("http://a")

        def write() -> list[str]:
            return [publish(picture) for _ in range(12)]

        async with asyncio.TaskGroup() as tasks:
            writing = [tasks.create_task(asyncio.to_thread(write)) for _ in range(3)]
            while not all(task.done() for task in writing):
                assert (await show(files, small)).body == PNG.data
        paths = {link.removeprefix("http://a") for task in writing for link in task.result()}
        assert len(paths) == 36
        assert all([(await show(files, path)).body == picture.data for path in paths])
        assert files.held_bytes == 36 * 2**20 + len(PNG.data) == sum(map(len, on_disk(tmp_path)))

    run(tmp_path, work, max_bytes=2**26)
