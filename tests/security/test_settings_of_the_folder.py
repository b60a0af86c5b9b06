"""What a commit can do to the settings: tighten, and choose what is harmless. Hosts, keys, places and caps are the operator's."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler import settings as configuration
from reconciler.cli.main import run
from reconciler.core.errors import SettingsError
from reconciler.settings.definitions import Settings, names_of
from tests.security.conftest import KEYS
from tests.support.project import Project, wait_until
from tests.support.simulator import Simulator, simulator

Way = Callable[[Project, str], None]


@pytest.fixture
def elsewhere() -> Iterator[Simulator]:
    """A host that takes the same keys, and is not the operator's."""
    with simulator(**KEYS) as running:
        yield running


def in_configuration(project: Project, url: str) -> None:
    project.write("reconciler.toml", f'kling_base_url = "{url}"\n')


def in_tracked_env(project: Project, url: str) -> None:
    project.write(".env", f"KLING_BASE_URL={url}\n")
    project.commit()


@pytest.mark.parametrize("way", [in_configuration, in_tracked_env])
@pytest.mark.parametrize("command", [("plan", "--refresh"), ("doctor",), ("apply", "--yes")])
def test_no_commit_sends_the_key_to_another_host(
    project: Project, elsewhere: Simulator, way: Way, command: tuple[str, ...]
) -> None:
    """A host that a commit names is not asked anything; the error says where the setting belongs."""
    project.spec()
    way(project, elsewhere.base_url)
    done = project.run(*command, env={"KLING_BASE_URL": None})
    assert sum(elsewhere.requests().values()) == 0
    assert done.code == 1
    assert "KLING_BASE_URL" in done.out + done.err or "git rm --cached .env" in done.out + done.err


def test_no_reload_changes_the_host_or_the_key(
    project: Project, sim: Simulator, elsewhere: Simulator
) -> None:
    """By a commit it is an error, by the operator's own file it waits for a start; what is wanted then is bought where it was."""
    env: dict[str, str | None] = dict.fromkeys(project.env)
    own = "".join(f"{name}={value}\n" for name, value in project.env.items())
    project.write(".env", own)
    with project.watching(env=env) as running:
        in_configuration(project, elsewhere.base_url)
        running.interrupt(signal.SIGHUP)
        running.wait_for("the earlier ones stay in force")
        (project.root / "reconciler.toml").unlink()
        project.write(".env", own.replace(sim.base_url, elsewhere.base_url).replace("AK-", "XK-"))
        running.interrupt(signal.SIGHUP)
        running.wait_for("KLING_ACCESS_KEY, KLING_BASE_URL cannot change while `watch` runs")
        project.spec()
        wait_until(sim.billed, "the purchase")
    assert sum(elsewhere.requests().values()) == 0


def test_no_commit_gets_more_past_a_cap(project: Project, sim: Simulator) -> None:
    """Prices of 0, and a cap of its own beside the operator's: three wishes of 5 units, and one is bought."""
    for number in range(3):
        project.spec(f"{number}.yaml", prompt=str(number))
    project.write(
        "reconciler.toml",
        "max_units_per_day = 5000\nmax_units_per_run = 5000\n[prices.kling-v2-6]\nstd = 0\npro = 0\n",
    )
    done = project.apply(env={"RECONCILER_MAX_UNITS_PER_DAY": "5"})
    assert (done.code, list(sim.billed().values())) == (3, [1])


LEFT_TO_THE_FOLDER = {
    "max_concurrency": ["0", "1", "64", "65", "1000"],
    "poll_interval": ["0.000001", "0.5", "20", "3600", "86400"],
    "absence_grace": ["0.000001", "29", "31", "3600", "86400"],
    "max_units_per_day": ["-1", "0", "5", "1e9"],
    "max_units_per_run": ["0", "5", "'1e9'"],
    "prices": [
        "{kling-v3 = {std = 0}}",
        "{kling-v3 = {std = 9, pro = 0}, kling-v2-6 = {pro = 0.1}}",
        "{kling-v9 = {std = 0}}",
        """'{"kling-v3": {"std": 0}}'""",
    ],
    "settle_seconds": ["0", "1", "3", "3600"],
    "resync_seconds": ["0.000001", "10", "3600", "86400"],
    "require_committed": ["true", "false"],
    "log_format": ["'json'", "'console'"],
    "posters": ["true", "false"],
    "contact_sheets": ["true", "false"],
}
"""Settings that `reconciler.toml` may hold at all, and what it could try with them."""
OPERATORS = {
    "RECONCILER_MAX_CONCURRENCY": ["3", "100"],
    "RECONCILER_POLL_INTERVAL": ["0.1", "7"],
    "RECONCILER_ABSENCE_GRACE": ["1", "60"],
    "RECONCILER_MAX_UNITS_PER_DAY": ["0", "5"],
    "RECONCILER_MAX_UNITS_PER_RUN": ["0", "5"],
    "RECONCILER_PRICES": ['{"kling-v3": {"std": 0.1}}', '{"kling-v9": {"std": 7}}'],
    "RECONCILER_SETTLE_SECONDS": ["0.1", "60"],
    "RECONCILER_RESYNC_SECONDS": ["5", "60"],
    "RECONCILER_REQUIRE_COMMITTED": ["true", "false"],
    "RECONCILER_LOG_FORMAT": ["json", "console"],
    "RECONCILER_POSTERS": ["true", "false"],
    "RECONCILER_STATE_DIR": ["/srv/state"],
    "KLING_BASE_URL": ["https://api.example.com"],
}


def some(table: dict[str, list[str]]) -> st.SearchStrategy[dict[str, str]]:
    return st.fixed_dictionaries(
        {}, optional={name: st.sampled_from(values) for name, values in table.items()}
    )


def is_no_looser(name: str, was: Any, now: Any, *, is_operators: bool) -> bool:
    """Whether what holds with the folder's word is at least as strict as without it."""
    match name:
        case "max_units_per_day" | "max_units_per_run":
            return was is None or (now is not None and now <= was)
        case "max_concurrency":
            return bool(now == was or now <= (was or 64))
        case "absence_grace" | "settle_seconds" | "require_committed":
            return bool(now >= was)
        case "prices":
            return was.keys() == now.keys() and all(
                was[model].keys() == now[model].keys()
                and all(now[model][mode] >= price for mode, price in was[model].items())
                for model in was
            )
        case "poll_interval" | "resync_seconds":
            return bool(now == was or (not is_operators and 0.5 <= now <= 3600))
        case "log_format" | "posters" | "contact_sheets":
            return bool(now == was or not is_operators)
        case _:
            return bool(now == was)


@given(folder=some(LEFT_TO_THE_FOLDER), operators=some(OPERATORS))
def test_no_content_of_the_folder_loosens_any_setting(
    folder: dict[str, str], operators: dict[str, str]
) -> None:
    """Beside whatever the operator gave, and where they gave nothing: every setting is as strict as without the folder."""
    with tempfile.TemporaryDirectory() as root, mock.patch.dict(os.environ, operators):
        before = configuration.load(Path(root))
        Path(root, "reconciler.toml").write_text(
            "".join(f"{key} = {value}\n" for key, value in folder.items())
        )
        try:
            after = configuration.load(Path(root))
        except SettingsError:
            return  # nothing is bought by any of it
    for name, field in Settings.model_fields.items():
        is_operators = names_of(field)[0] in operators
        assert is_no_looser(
            name, getattr(before, name), getattr(after, name), is_operators=is_operators
        ), name


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        (name, names_of(field)[0])
        for attribute, field in Settings.model_fields.items()
        if attribute not in LEFT_TO_THE_FOLDER
        for name in names_of(field)
    ],
)
@pytest.mark.parametrize("value", ["'https://elsewhere.example'", "'/etc/profile.d/x.sh'", "0"])
def test_every_other_setting_is_an_error_there(
    tmp_path: Path, name: str, shown: str, value: str
) -> None:
    """Also one that does not exist yet: it says the place, and where it belongs, whatever its value is."""
    key = name.removeprefix("RECONCILER_").lower()
    (tmp_path / "reconciler.toml").write_text(f"poll_interval = 5\n {key} = {value}\n")
    with pytest.raises(SettingsError) as raised:
        configuration.load(tmp_path)
    assert f"`reconciler.toml:2:2` holds `{key}`" in raised.value.message
    assert f"set {shown} in the environment" in raised.value.hint
    assert "--config" in raised.value.hint


def test_the_folder_tightens_what_the_operator_gave(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The smallest cap and the highest price hold, wherever they stand."""
    monkeypatch.setenv("RECONCILER_MAX_UNITS_PER_DAY", "50")
    monkeypatch.setenv("RECONCILER_PRICES", '{"kling-v3": {"std": 0.1, "pro": 9}}')
    (tmp_path / "reconciler.toml").write_text(
        "max_units_per_day = 5\nmax_units_per_run = 4\nrequire_committed = true\nsettle_seconds = 60\n"
        "absence_grace = 90\nprices.kling-v3 = {std = 2, pro = 2}\n"
    )
    found = configuration.load(tmp_path)
    assert [found.max_units_per_day, found.max_units_per_run] == [5, 4]
    assert (found.require_committed, found.settle_seconds, found.absence_grace) == (True, 60, 90)
    assert found.prices["kling-v3"] == {"std": Decimal(2), "pro": Decimal(9)}


def test_a_configuration_that_is_slow_to_read_is_refused(tmp_path: Path) -> None:
    """A key of very many parts would take minutes."""
    (tmp_path / "reconciler.toml").write_text("a." * 30_000 + "a = 1\n")
    with pytest.raises(SettingsError, match="nested too deeply"):
        configuration.load(tmp_path)


@pytest.mark.parametrize("way", ["files", "link"])
def test_a_state_that_came_by_git_is_not_the_state(
    project: Project, sim: Simulator, way: str
) -> None:
    """It would say what was bought and which files are ours: nothing is bought, removed or written by it, or read of it."""
    project.spec()
    if way == "link":
        (project.root / "state").symlink_to(".")
    else:
        project.write("state/reconciler.db", "")
    project.commit(ignore="")
    before = project.snapshot()
    for command in (("apply", "--yes"), ("prune", "--yes"), ("watch", "--no-http"), ("validate",)):
        done = project.run(*command)
        assert done.code == 1
        assert "git tracks `state" in done.err
    assert (sim.billed(), project.snapshot()) == ({}, before)


# Who may write `.env` and the operator's settings file.


def git(folder: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=t", "-c", "user.email=t@localhost", "-c", "commit.gpgsign=no"]
    subprocess.run(["git", "-C", folder, *identity, *arguments], check=True, capture_output=True)


def added(top: Path, root: Path) -> None:
    git(top, "add", "--all")


def added_by_name_only(top: Path, root: Path) -> None:
    git(top, "add", "--all", "--intent-to-add")


def committed_and_kept_out_of_the_tree(top: Path, root: Path) -> None:
    git(top, "add", "--all")
    git(top, "commit", "--quiet", "--message", "it")
    git(top, "update-index", "--skip-worktree", str(root / ".env"))


def in_another_spelling(top: Path, root: Path) -> None:
    (root / ".env").rename(root / ".ENV")
    git(top, "add", "--all")
    git(top, "config", "core.ignorecase", "true")
    (root / ".ENV").rename(root / ".env")


def a_link_to_what_is_tracked(top: Path, root: Path) -> None:
    (root / ".env").rename(top / "theirs")
    git(top, "add", "--all")
    (root / ".env").symlink_to(top / "theirs")


def a_link_through_a_tracked_link(top: Path, root: Path) -> None:
    outside = top.parent / "outside"
    outside.mkdir()
    (root / ".env").rename(outside / "settings")
    (top / "theirs").symlink_to(outside)
    git(top, "add", "--all")
    (root / ".env").symlink_to(top / "theirs/settings")


def a_tracked_link(top: Path, root: Path) -> None:
    (root / ".env").rename(top.parent / "outside")
    (root / ".env").symlink_to(top.parent / "outside")
    git(top, "add", "--all")


def git_does_not_answer(top: Path, root: Path) -> None:
    (top / ".git/HEAD").write_text("nothing")


def in_a_folder_that_looks_like_a_repository(top: Path, root: Path) -> None:
    for name in ("objects", "refs"):
        (root / name).mkdir()
    (root / "HEAD").write_text("ref: refs/heads/main\n")
    (root / "config").write_text("[core]\nbare = false\nworktree = .\n")
    git(top, "add", "--all")


def a_checkout_is_under_way(top: Path, root: Path) -> None:
    (top / ".git/index.lock").touch()
    (root / ".env").write_text((root / ".env").read_text())


REFUSED = [
    added,
    added_by_name_only,
    committed_and_kept_out_of_the_tree,
    in_another_spelling,
    a_link_to_what_is_tracked,
    a_link_through_a_tracked_link,
    a_tracked_link,
    in_a_folder_that_looks_like_a_repository,
    git_does_not_answer,
    a_checkout_is_under_way,
]


def arranged(top: Path, below: str, arrange: Callable[[Path, Path], None], url: str) -> Path:
    """Make a root in a repository, with an `.env` that names an API, and bring about a circumstance."""
    root = top / below
    root.mkdir(parents=True)
    git(top, "init", "--quiet")
    (root / ".env").write_text(f"KLING_BASE_URL={url}\n")
    arrange(top, root)
    return root


@pytest.mark.parametrize("below", ["", "videos"])
@pytest.mark.parametrize("arrange", REFUSED)
def test_an_env_file_that_a_commit_can_change_is_refused(
    tmp_path: Path, arrange: Callable[[Path, Path], None], below: str
) -> None:
    """However it got there, and where git does not say: its values would be anybody's."""
    root = arranged(tmp_path / "repository", below, arrange, "https://elsewhere.example")
    with pytest.raises(SettingsError) as raised:
        configuration.load(root)
    assert "`.env`" in raised.value.message
    assert "git rm --cached .env" in raised.value.hint or "--config" in raised.value.hint


def stays_out(top: Path, root: Path) -> None:
    pass


def ignored(top: Path, root: Path) -> None:
    (top / ".gitignore").write_text(".env\n")
    git(top, "add", "--all")


def a_link_out_of_the_tree(top: Path, root: Path) -> None:
    (root / ".env").rename(top.parent / "outside")
    (root / ".env").symlink_to(top.parent / "outside")


def while_somebody_commits(top: Path, root: Path) -> None:
    lock = top / ".git/index.lock"
    lock.touch()
    later = lock.stat().st_mtime_ns + 10**10
    os.utime(lock, ns=(later, later))


@pytest.mark.parametrize("below", ["", "videos"])
@pytest.mark.parametrize(
    "arrange", [stays_out, ignored, a_link_out_of_the_tree, while_somebody_commits]
)
def test_an_env_file_that_git_does_not_track_is_the_operators(
    tmp_path: Path, arrange: Callable[[Path, Path], None], below: str
) -> None:
    """Whether it is ignored or not; a hook that runs while git holds its lock reads it as well."""
    root = arranged(tmp_path / "repository", below, arrange, "https://api.example.com")
    assert configuration.load(root).base_url == "https://api.example.com"


def test_outside_of_a_repository_no_git_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is tracked there, so nothing is asked."""
    monkeypatch.setenv("PATH", "")
    (tmp_path / ".env").write_text("KLING_BASE_URL=https://api.example.com\n")
    assert configuration.load(tmp_path).base_url == "https://api.example.com"


def test_a_settings_file_of_ones_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--config`, else the one in the configuration folder; one that is missing, gone or tracked is an error."""
    root, users = tmp_path / "project", tmp_path / "config/reconciler/config.toml"
    (root / "specs").mkdir(parents=True)
    users.parent.mkdir(parents=True)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    assert configuration.load(root).currency == "USD"
    users.write_text("currency = 'EUR'\nkling_base_url = 'https://api.example.com'\n")
    found = configuration.load(root)
    assert (found.currency, found.base_url) == ("EUR", "https://api.example.com")
    users.unlink()
    with pytest.raises(SettingsError, match="is gone"):
        configuration.load(root, again=found)

    own = root / "own.toml"
    with pytest.raises(SettingsError, match="does not exist"):
        configuration.load(root, config=own)
    own.write_text("max_units_per_day = 'many'\n")
    users.write_text("no_such = 1\n")
    assert run(["--root", str(root), "--config", str(own), "status"]) == 1
    assert "RECONCILER_MAX_UNITS_PER_DAY" in (said := capsys.readouterr().err)
    assert f"{own}:1:1" in said.replace("\n", "")
    own.write_text("currency = 'CHF'\n")
    assert configuration.load(root, config=own).currency == "CHF"
    git(root, "init", "--quiet")
    assert configuration.load(root, config=own).currency == "CHF"
    git(root, "add", "own.toml")
    with pytest.raises(SettingsError, match="tracked by git"):
        configuration.load(root, config=own)
    assert run(["--root", str(root), "--config", str(own), "doctor", "--json"]) == 1
    (check,) = json.loads(capsys.readouterr().out)["checks"]
    assert "tracked by git" in check["message"]


KEPT = {
    "KLING_ACCESS_KEY": "other",
    "KLING_SECRET_KEY": "other",
    "KLING_API_KEY": "other",
    "KLING_WEBHOOK_SECRET": "whsec_" + "b3RoZXJvdGhlcm90aGVy" * 2,
    "KLING_BASE_URL": "https://elsewhere.example",
    "RECONCILER_SPECS_DIR": "other",
    "RECONCILER_STATE_DIR": "other",
    "RECONCILER_DATABASE_URL": "sqlite:///other.db",
}


def test_a_second_reading_keeps_what_a_running_program_is_made_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of these is named, and holds as it was; the rest is as it is now."""
    first = configuration.load(tmp_path)
    for name, value in {**KEPT, "RECONCILER_POLL_INTERVAL": "7"}.items():
        monkeypatch.setenv(name, value)
    second = configuration.load(tmp_path, again=first)
    assert set(second.provenance.kept) == set(KEPT)
    assert [second.source(name) for name in KEPT] == [None] * len(KEPT)
    assert second.poll_interval == 7
    for name, field in Settings.model_fields.items():
        if names_of(field)[0] in KEPT:
            assert getattr(second, name) == getattr(first, name)
    assert set(configuration.load(tmp_path, again=second).provenance.kept) == set(KEPT)
