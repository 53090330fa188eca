"""Settings: file, then environment; mistakes are named by key and never shown by value."""

from __future__ import annotations

from pathlib import Path

import pytest

from quintet.config import ConfigError, Settings, is_loopback, read_settings


def read(home: Path, toml: str = "", **environ: str) -> Settings:
    (home / "quintet.toml").write_text(toml)
    variables = {f"QUINTET_{name.upper()}": value for name, value in environ.items()}
    return read_settings({"QUINTET_HOME": str(home), **variables})


def test_defaults(tmp_path: Path) -> None:
    settings = read_settings({"QUINTET_HOME": str(tmp_path / "nothing there")})
    assert (settings.host, settings.port, settings.default_model) == ("127.0.0.1", 8000, "starter-chat")
    assert settings.local_allowed
    assert settings.preloaded == ("starter-chat",)
    assert settings.all_aliases == dict.fromkeys(("phi3", "tgi", "dummy"), "starter-chat") | {
        "llava": "starter-vision",
        "imagine": "starter-image",
    }
    auth = settings.auth
    assert (auth.ban_failures, auth.ban_seconds, auth.forget_seconds) == (5, 300, 1800)
    assert not settings.echo.enabled
    assert read_settings({}).home == Path("~/.quintet").expanduser()


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    file = 'port = 1\ndefault_model = "a"\n[auth]\nban_seconds = 10\n[aliases]\nphi3 = "b"\n'
    settings = read(tmp_path, file, port="2", auth__ban_failures="7", aliases__mine="c", preload='["x", "y"]')
    assert settings.port == 2
    assert (settings.auth.ban_seconds, settings.auth.ban_failures) == (10, 7)
    assert settings.all_aliases == {
        "phi3": "b",
        "mine": "c",
        "llava": "starter-vision",
        "imagine": "starter-image",
        "tgi": "a",
        "dummy": "a",
    }
    assert settings.preloaded == ("x", "y")


def test_variables_of_the_clients_are_left_alone(tmp_path: Path) -> None:
    assert read(tmp_path, url="http://x", api_key="qt_x").port == 8000


@pytest.mark.parametrize(
    ("toml", "environ", "words"),
    [
        ("prot = 1", {}, ["prot", "no such setting", "QUINTET_PROT"]),
        ('[auth]\nban_secnods = "sesame"', {}, ["auth.ban_secnods"]),
        ('[auth]\nban_seconds = "sesame"', {}, ["auth.ban_seconds"]),
        ("[auth", {}, ["quintet.toml", "TOML"]),
        ('home = "/tmp"', {}, ["QUINTET_HOME"]),
        ("", {"prot": "sesame"}, ["prot"]),
        ("", {"port": "sesame"}, ["port", "QUINTET_PORT"]),
        ("", {"port": "70000"}, ["port"]),
        ("", {"auth": "sesame"}, ["auth"]),
        ("", {"auth__trusted_proxies": '["sesame"]'}, ["auth.trusted_proxies"]),
        ("", {"log__level": "sesame"}, ["log.level", "debug"]),
        ("", {"host": "0.0.0.0", "auth__local": "true"}, ["auth.local", "quintet keys create"]),
        ("", {"host": "192.168.1.1", "auth__local": "1"}, ["auth.local"]),
    ],
)
def test_mistakes(tmp_path: Path, toml: str, environ: dict[str, str], words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, toml, **environ)
    message = str(caught.value)
    assert all(word in message for word in words), message
    assert "sesame" not in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.168.1.1", False),
        ("my.name", False),
        ("", False),
    ],
)
def test_loopback(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected
