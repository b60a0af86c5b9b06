"""doctor: what it finds, what it says when something is wrong, and that no secret is in any of it."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from reconciler import settings as configuration
from reconciler.settings import origins
from reconciler.store.lock import StateLock
from tests.support.simulator import Simulator, simulator

from .shell import Shell

CHECKS = [
    "settings",
    "key",
    "provider",
    "clock",
    "balance",
    "media",
    "folder",
    "privacy",
    "disk",
    "database",
    "objects",
    "lock",
    "inotify",
    "git",
]


def examined(shell: Shell, *arguments: str) -> tuple[int, dict[str, dict[str, Any]]]:
    """Return the exit code and the checks by name."""
    code, document = shell.json("doctor", *arguments)
    return code, {check["name"]: check for check in document["checks"]}


def wrong(checks: dict[str, dict[str, Any]]) -> list[str]:
    return [name for name, check in checks.items() if not check["ok"]]


@pytest.mark.usefixtures("posters")
def test_a_healthy_project_has_nothing_to_say(shell: Shell, sim: Simulator) -> None:
    """Every check is well, the exit code is 0, nothing was created at the provider and nothing changed on disk."""
    shell.write("dance.yaml")
    shell("apply", "--yes")
    before = sorted((path, path.stat().st_mtime_ns) for path in (shell.root / "specs").iterdir())
    created = sim.requests()["create_attempts"]
    code, checks = examined(shell)
    assert (code, list(checks), wrong(checks)) == (0, CHECKS, [])
    assert "997.5 of 1000 units" in checks["balance"]["message"]
    assert "1 generation on record" in checks["database"]["message"]
    assert "2, all of them intact" in checks["objects"]["message"]
    after = sorted((path, path.stat().st_mtime_ns) for path in (shell.root / "specs").iterdir())
    assert (after, sim.requests()["create_attempts"]) == (before, created)


def test_without_a_key_the_rest_is_looked_at(shell: Shell) -> None:
    """What needs a key says that there is none; the disk and the database need none."""
    code, checks = examined(shell)
    assert (code, wrong(checks)) == (1, ["key", "provider", "clock", "balance"])
    assert "KLING_ACCESS_KEY" in checks["key"]["message"]
    assert not (shell.root / "state").exists()


def test_half_of_a_pair_is_named(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says which half is missing."""
    monkeypatch.setenv("KLING_ACCESS_KEY", "half")
    assert "KLING_SECRET_KEY is missing" in examined(shell)[1]["key"]["message"]


def test_where_nobody_answers_the_rest_is_looked_at(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Offline: the key is there, the provider is not."""
    monkeypatch.setenv("KLING_API_KEY", "static")
    monkeypatch.setenv("KLING_BASE_URL", "http://127.0.0.1:9")
    code, checks = examined(shell)
    assert (code, wrong(checks)) == (1, ["provider", "clock", "balance"])
    assert "http://127.0.0.1:9" in checks["provider"]["message"]


def test_a_key_that_is_refused_is_told_from_a_network_that_is_down(
    shell: Shell, sim: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The provider answers, and says what it has against the key."""
    monkeypatch.setenv("KLING_SECRET_KEY", "w" * 32)
    code, checks = examined(shell)
    assert code == 1
    assert "answers, but refuses" in checks["provider"]["message"]
    assert "100" in checks["provider"]["message"]


@pytest.mark.parametrize(
    ("path", "rules", "word"),
    [
        ("/wrong", [], "1202"),
        ("", [{"endpoint": "list", "effect": {"status": 404, "body": "<html>"}}], "a web page"),
        ("", [{"endpoint": "list", "effect": {"status": 200, "body": "<html>"}}], "a web page"),
    ],
)
def test_a_wrong_address_is_told_from_a_network_that_is_down(
    shell: Shell,
    sim: Simulator,
    monkeypatch: pytest.MonkeyPatch,
    path: str,
    rules: list[dict[str, Any]],
    word: str,
) -> None:
    """What answers there is not the API, or not at that path: the setting is named."""
    sim.faults(rules)
    monkeypatch.setenv("KLING_BASE_URL", f"{sim.base_url}{path}")
    _, checks = examined(shell)
    assert "provider" in wrong(checks)
    assert word in checks["provider"]["message"]
    assert "KLING_BASE_URL" in checks["provider"]["message"]


def test_a_clock_that_is_wrong_is_said(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """By how much and which way; tokens are corrected, so the rest goes on."""
    with simulator(tmp_path / "simulator", clock_skew_s=600.0) as ahead:
        for name, value in ahead.env().items():
            monkeypatch.setenv(name, value)
        _, checks = examined(shell)
    assert wrong(checks) == ["clock"]
    assert "behind the provider's" in checks["clock"]["message"]


@pytest.mark.parametrize(
    ("config", "word"), [({"pack_units": 0}, "runOut"), ({"pack_days": -1.0}, "no pack")]
)
def test_an_account_without_units_is_said(
    shell: Shell,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    config: dict[str, Any],
    word: str,
) -> None:
    """A pack that is used up cannot be bought from; where none is listed, that is said."""
    with simulator(tmp_path / "simulator", **config) as poor:
        for name, value in poor.env().items():
            monkeypatch.setenv(name, value)
        _, checks = examined(shell)
    assert word in checks["balance"]["message"]


@pytest.mark.usefixtures("posters")
def test_a_damaged_object_is_found_by_reading_it(shell: Shell, sim: Simulator) -> None:
    """One flipped bit; with --quick objects are only counted."""
    shell.write("dance.yaml")
    shell("apply", "--yes")
    objects = [path for path in (shell.root / "state/objects").rglob("*") if path.is_file()]
    kept = max(objects, key=lambda path: path.stat().st_size)  # the video; the other is its poster
    data = bytearray(kept.read_bytes())
    data[-1] ^= 1
    kept.chmod(0o644)
    kept.write_bytes(data)
    code, checks = examined(shell)
    assert (code, wrong(checks)) == (1, ["objects"])
    assert "1 of 2 are damaged" in checks["objects"]["message"]
    assert wrong(examined(shell, "--quick")[1]) == []


def test_a_damaged_database_is_found_and_the_rest_goes_on(shell: Shell, sim: Simulator) -> None:
    """A file that is no database; it is left as it is."""
    state = shell.root / "state"
    state.mkdir()
    (state / "reconciler.db").write_bytes(b"not a database" * 500)
    code, checks = examined(shell)
    assert (code, wrong(checks)) == (1, ["database", "objects"])
    assert (state / "reconciler.db").read_bytes() == b"not a database" * 500


def test_whoever_writes_is_named_and_not_disturbed(shell: Shell, sim: Simulator) -> None:
    """`doctor` needs no lock: it names the process that has it, which goes on."""
    with StateLock(shell.root / "state"):
        _, checks = examined(shell)
    assert f"Process {os.getpid()} writes here" in checks["lock"]["message"]
    assert checks["lock"]["ok"]


def test_git_is_asked_for_only_where_it_is_needed(
    shell: Shell, sim: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With RECONCILER_REQUIRE_COMMITTED the folder must be in a repository with a commit."""
    assert examined(shell)[1]["git"]["ok"]
    monkeypatch.setenv("RECONCILER_REQUIRE_COMMITTED", "true")
    assert not examined(shell)[1]["git"]["ok"]
    git = ["git", "-C", str(shell.root), "-c", "user.name=t", "-c", "user.email=t@localhost"]
    subprocess.run([*git, "init", "--quiet"], check=True)
    subprocess.run([*git, "commit", "--quiet", "--allow-empty", "-m", "one"], check=True)
    assert examined(shell)[1]["git"]["ok"]


def test_no_specs_folder_is_one_sentence_among_the_others(shell: Shell) -> None:
    """`doctor` is what one runs where nothing works: it says all the rest, too."""
    (shell.root / "specs").rmdir()
    code, checks = examined(shell)
    assert code == 1
    assert "specs" in checks["folder"]["message"]
    assert list(checks) == CHECKS


def test_a_setting_that_is_wrong_is_the_only_finding(shell: Shell) -> None:
    """Without settings nothing else can be looked at."""
    (shell.root / "reconciler.toml").write_text("poll_intervall = 3\n")
    code, checks = examined(shell)
    assert (code, list(checks)) == (1, ["settings"])
    assert "poll_interval" in checks["settings"]["message"]


def test_every_setting_says_where_it_came_from(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the settings themselves are read: the environment, `.env`, `reconciler.toml`, the default."""
    (shell.root / "reconciler.toml").write_text(
        "poll_interval = 1\nabsence_grace = 1\nmax_units_per_day = 9\nrequire_committed = true\n[prices.kling-v3]\nstd = 3\n"
    )
    (shell.root / ".env").write_text(
        "RECONCILER_ABSENCE_GRACE=2\nRECONCILER_MEDIA_STORE=\nKLINGAI_SECRET_KEY=hidden\n"
    )
    monkeypatch.setenv("RECONCILER_REQUEST_TIMEOUT", "3")
    monkeypatch.setenv("reconciler_max_units_per_day", "7")
    found = {
        origin.name: (origin.said, origin.source)
        for origin in origins(configuration.load(shell.root)).values()
    }
    assert found["RECONCILER_POLL_INTERVAL"] == ("1.0", "reconciler.toml")
    assert found["RECONCILER_ABSENCE_GRACE"] == ("2.0", ".env")
    assert found["RECONCILER_REQUEST_TIMEOUT"] == ("3.0", "the environment")
    assert found["RECONCILER_MAX_UNITS_PER_DAY"] == ("7", "the environment")
    assert found["RECONCILER_MAX_UNITS_PER_RUN"] == ("not set", "default")
    assert found["RECONCILER_MEDIA_STORE"] == ("not set", "default")
    assert found["KLINGAI_SECRET_KEY"] == ("***", ".env")
    assert found["RECONCILER_SPECS_DIR"] == ("specs", "default")
    assert found["RECONCILER_REQUIRE_COMMITTED"] == ("True", "reconciler.toml")
    assert found["RECONCILER_PRICES"][1] == "default, raised in reconciler.toml"
    assert "kling-v3 std 3, pro 1.2" in found["RECONCILER_PRICES"][0].replace("; pro", ", pro")
    assert len(found) == len(configuration.Settings.model_fields)
    message = examined(shell)[1]["settings"]["message"]
    assert "(the environment; `reconciler.toml:3:1` asks for 9)" in message


def test_no_secret_is_shown(shell: Shell, sim: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither keys nor the addresses of notifications, nor what stands before an @; with and without --json."""
    secrets = ["Kx81-secret", "Ny72-secret", "Hook93-secret", "Pw64-secret", "c2lnbmVk"]
    monkeypatch.setenv("KLING_ACCESS_KEY", secrets[0])
    monkeypatch.setenv("KLING_SECRET_KEY", secrets[1])
    monkeypatch.setenv("RECONCILER_NOTIFY_URLS", f"json://user:{secrets[2]}@127.0.0.1/x")
    monkeypatch.setenv("KLING_WEBHOOK_SECRET", f"whsec_{secrets[4]}")
    monkeypatch.setenv("RECONCILER_CALLBACK_URL", f"https://me:{secrets[3]}@example.com/callbacks")
    _, out, err = shell("doctor")
    said = out + err + json.dumps(shell.json("doctor")[1])
    assert [secret for secret in secrets if secret in said] == []
    assert "***" in said
    assert "https://***@example.com/callbacks" in said
