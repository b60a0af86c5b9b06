"""What a user wrote in order to be protected protects, or nothing is bought: no setting fails open."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from reconciler import settings as configuration
from reconciler.core.errors import SettingsError
from tests.support.project import Project
from tests.support.simulator import Simulator

from .shell import Shell

LINES = [
    # what stands in `.env`, where, and what the sentence names
    ("RECONCILER_MAX_UNITS_PER_DAY: 1", ".env:1", "assignment"),
    ("RECONCILER_MAX_UNITS_PER_DAY:1", ".env:1", "assignment"),
    ("RECONCILER_MAX_UNITS_PER_DAY 1", ".env:1", "assignment"),
    ("RECONCILER_MAX_UNITS_PER_DAY", ".env:1", "assignment"),
    ("set RECONCILER_MAX_UNITS_PER_DAY=1", ".env:1", "assignment"),
    ("setenv RECONCILER_MAX_UNITS_PER_DAY 1", ".env:1", "assignment"),
    ("[reconciler]\nmax_units_per_day=1", ".env:1", "assignment"),
    ("\n\n  # note\n\nRECONCILER_MAX_UNITS_PER_DAY: 1", ".env:5", "assignment"),
    ("; a note\nRECONCILER_MAX_UNITS_PER_DAY=1", ".env:1", "assignment"),
    ('$env:RECONCILER_MAX_UNITS_PER_DAY = "1"', ".env:1", "not a name"),
    ("RECONCILER_MAX_UNITS_PER_DAY+=1", ".env:1", "not a name"),
    ("RECONCILER_MAX_UNITS_PER_DAY:=1", ".env:1", "not a name"),
    ("RECONСILER_MAX_UNITS_PER_DAY=1", ".env:1", "not a name"),  # one letter is Cyrillic
    ("RECONCILER_MAX_UNIT_PER_DAY=1", ".env:1", "`RECONCILER_MAX_UNITS_PER_DAY`"),
    ("RECONCILER_MAX_UNITS_PER_WEEK=1", ".env:1", "`RECONCILER_MAX_UNITS_PER_"),
    ("RECONCILER-MAX-UNITS-PER-DAY=1", ".env:1", "`RECONCILER_MAX_UNITS_PER_DAY`"),
    ("RECONCILR_MAX_UNITS_PER_DAY=1", ".env:1", "`RECONCILER_MAX_UNITS_PER_DAY`"),
    ("MAX_UNITS_PER_DAY=1", ".env:1", "`RECONCILER_MAX_UNITS_PER_DAY`"),
    ("MAX_UNITS=1", ".env:1", "`RECONCILER_MAX_UNITS_PER_DAY`"),
    ("DAILY_MAX_UNITS=1", ".env:1", "`RECONCILER_MAX_UNITS_PER_DAY`"),
    ("KLING_BASE_URL=http://[::1", ".env:1", "KLING_BASE_URL"),
    ('RECONCILER_PRICES={"kling-v3":{"pro":1},"kling-v3":{"pro":0}}', ".env:1", "RECONCILER_PRICES"),
    ("REQUIRE_COMMITED=true", ".env:1", "`RECONCILER_REQUIRE_COMMITTED`"),
    ("RECONCILER_GRACE=90", ".env:1", "`RECONCILER_ABSENCE_GRACE`"),
    ("RECONCILER_WHATEVER=1", ".env:1", "`RECONCILER_WHATEVER`, which is not a setting"),
    ("KLING_ACESS_KEY=k", ".env:1", "`KLING_ACCESS_KEY`"),
    ("KLING_URL=http://127.0.0.1:9", ".env:1", "`KLING_BASE_URL`"),
    ("KLING_HOST=http://127.0.0.1:9", ".env:1", "KLING_BASE_URL"),
    ("KLNG_API_KEY=k", ".env:1", "`KLING_API_KEY`"),
    ('KLING_API_KEY="k\nRECONCILER_MAX_UNITS_PER_DAY=1\n', ".env:1", "assignment"),
    ('OTHER="k\nRECONCILER_MAX_UNITS_PER_DAY=1\n"', ".env:1", "swallows"),
    ("OTHER='k\nRECONCILER_MAX_UNITS_PER_DAY=1\nNAME='x'", ".env:1", "assignment"),
    ("RECONCILER_LOG_FILE=log RECONCILER_MAX_UNITS_PER_DAY=1", ".env:1", "another setting"),
    ("OTHER=1;RECONCILER_MAX_UNITS_PER_DAY=1", ".env:1", "another setting"),
    ("# note\u2028RECONCILER_MAX_UNITS_PER_DAY=1", ".env:1", "U+2028"),
    ("# note\x0bRECONCILER_MAX_UNITS_PER_DAY=1", ".env:1", "U+000B"),
    ("RECONCILER_MAX_UNITS_PER_DAY=1\nRECONCILER_MAX_UNITS_PER_DAY=100", ".env:2", "line 1"),
    ("RECONCILER_MAX_UNITS_PER_DAY=${NO_SUCH_CAP}0", ".env:1", "NO_SUCH_CAP"),
    ("RECONCILER_MAX_UNITS_PER_DAY=$CAP", ".env:1", "RECONCILER_MAX_UNITS_PER_DAY"),
    ("RECONCILER_MAX_UNITS_PER_DAY=", ".env:1", "empty"),
    ("RECONCILER_MAX_UNITS_PER_DAY=''", ".env:1", "empty"),
    ("RECONCILER_MAX_UNITS_PER_DAY='\"1\"'", ".env:1", "quotes"),
    ("RECONCILER_MAX_UNITS_PER_DAY=1,5", ".env:1", "RECONCILER_MAX_UNITS_PER_DAY"),
    ("RECONCILER_REQUIRE_COMMITTED=maybe", ".env:1", "RECONCILER_REQUIRE_COMMITTED"),
    ("RECONCILER_REQUIRE_COMMITTED=", ".env:1", "empty"),
    ("RECONCILER_ABSENCE_GRACE=30s", ".env:1", "RECONCILER_ABSENCE_GRACE"),
    ("RECONCILER_SETTLE_SECONDS=", ".env:1", "empty"),
    ("RECONCILER_MEDIA_STORE='\"s3://bucket\"'", ".env:1", "quotes"),
    ("KLING_API_KEY='\"k\"'", ".env:1", "quotes"),
    ("KLING_API_KEY=k\nKLINGAI_API_KEY=l", "KLINGAI_API_KEY (`.env:2`)", "not the same"),
]  # fmt: skip


@pytest.fixture
def project(tmp_path: Path, sim: Simulator) -> Project:
    made = Project(tmp_path / "project", sim.env())
    made.spec()
    return made


@pytest.mark.parametrize(("text", "place", "word"), LINES)
def test_a_line_that_does_not_say_what_was_wanted_is_an_error_with_its_place(
    tmp_path: Path, text: str, place: str, word: str
) -> None:
    """Neither a default nor silence; no value is shown, it may be a key."""
    (tmp_path / ".env").write_text(text + "\n", encoding="utf-8")
    with pytest.raises(SettingsError) as raised:
        configuration.load(tmp_path)
    assert place in f"{raised.value.message} {raised.value.hint}"
    assert word in f"{raised.value.message} {raised.value.hint}"


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("export RECONCILER_CURRENCY = 'EUR' # ours", "currency", "EUR"),
        ("\ufeffRECONCILER_CURRENCY=EUR", "currency", "EUR"),
        ("reconciler_currency=EUR\r\n\r\n# end", "currency", "EUR"),
        ("UNIT=EUR\nRECONCILER_CURRENCY=${UNIT}", "currency", "EUR"),
        ("RECONCILER_CURRENCY=${NO_SUCH_UNIT:-EUR}", "currency", "EUR"),
        ("RECONCILER_CURRENCY=EUR\nRECONCILER_CURRENCY=EUR", "currency", "EUR"),
        ('PEM="-----BEGIN\nMIIabc/9+=\n-----END"\nRECONCILER_CURRENCY=EUR', "currency", "EUR"),
        ("RECONCILER_CALLBACK_URL=\nDATABASE_URL=x\nSECRET_KEY=x\nPORT=1", "callback_url", ""),
        ('RECONCILER_PRICES={"kling-v9": {"pro": 2}}', "currency", "USD"),
    ],
)
def test_what_people_write_in_env_files_is_read(
    tmp_path: Path, text: str, name: str, value: object
) -> None:
    """As shells and container tools read it; other programs' settings are none of our business."""
    (tmp_path / ".env").write_bytes(text.encode())
    assert getattr(configuration.load(tmp_path), name) == value


@pytest.mark.parametrize(
    ("name", "value", "word"),
    [
        ("RECONCILER_MAX_UNIT_PER_DAY", "1", "`RECONCILER_MAX_UNITS_PER_DAY`"),
        ("RECONCILR_MAX_UNITS_PER_DAY", "1", "`RECONCILER_MAX_UNITS_PER_DAY`"),
        ("RECONCILER_CAP", "1", "`RECONCILER_CAP`, which is not a setting"),
        ("RECONCILER_MAX_UNITS_PER_DAY", '"1"', "quotes"),
        ("RECONCILER_MAX_UNITS_PER_DAY", "", "empty"),
        ("RECONCILER_MAX_UNITS_PER_DAY", " ", "empty"),
        ("RECONCILER_REQUIRE_COMMITTED", "", "empty"),
        ("RECONCILER_LOG_FILE", "x RECONCILER_MAX_UNITS_PER_DAY=1", "another setting"),
        ("KLING_SECRET_KEY", "'k'", "quotes"),
        ("RECONCILER_PAGE_TOKEN", "guessed", "16 characters"),
        ("RECONCILER_PAGE_TOKEN", "many words and spaces", "without spaces"),
    ],
)
def test_the_environment_is_read_as_strictly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, word: str
) -> None:
    """Names that begin as ours do are ours, and an empty cap is no cap that anybody wanted."""
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as raised:
        configuration.load(tmp_path)
    assert word in f"{raised.value.message} {raised.value.hint}"


def test_other_programs_and_kubernetes_may_have_their_variables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service that is called `reconciler` puts eight variables into every pod; none is a setting."""
    for name in (
        *("RECONCILER_SERVICE_HOST", "RECONCILER_SERVICE_PORT", "RECONCILER_SERVICE_PORT_HTTP"),
        *("RECONCILER_PORT", "RECONCILER_PORT_8787_TCP", "RECONCILER_PORT_8787_TCP_ADDR"),
        *("KLING_VIDEO_DIR", "KLINGAI_BASE", "MAX_UNITS", "PATH_TO_RECONCILER"),
    ):
        monkeypatch.setenv(name, "1")
    assert configuration.load(tmp_path).max_units_per_day is None


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("max_units_per_day = true\n", "RECONCILER_MAX_UNITS_PER_DAY"),
        ("max_units_per_day = ''\n", "empty"),
        ("log_format = '''json\nmax_units_per_day = 1\n'''\n", "another setting"),
        ("MAX_UNITS_PER_DAY = 1\n", "`max_units_per_day`"),
        ("RECONCILER_MAX_UNITS_PER_DAY = 1\n", "`max_units_per_day`"),
        ("[reconciler]\nmax_units_per_day = 1\n", "`reconciler`"),
        ("require_committed = 'perhaps'\n", "RECONCILER_REQUIRE_COMMITTED"),
        ("[prices.kling-v3]\nprro = 100\n", "prro"),
        ("[prices.kling-v3]\npro = 1\nmax_units_per_day = 1\n", "max_units_per_day"),
        ('[prices."kling-v2.6"]\npro = 100\n', "`kling-v2-6`"),
        ("[prices.KLING-V3]\npro = 100\n", "`kling-v3`"),
    ],
)
def test_the_configuration_file_is_read_as_strictly(tmp_path: Path, text: str, word: str) -> None:
    """A price under a name that no mode has estimates nothing, and a cap would let everything pass."""
    (tmp_path / "reconciler.toml").write_text(text)
    with pytest.raises(SettingsError) as raised:
        configuration.load(tmp_path)
    assert word in f"{raised.value.message} {raised.value.hint}"


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        (".env.txt", "`.env`"),
        (".ENV", "`.env`"),
        ("reconciler.tml", "`reconciler.toml`"),
        ("reconciler.toml.txt", "`reconciler.toml`"),
        ("Reconciler.toml", "`reconciler.toml`"),
        ("reconcilier.toml", "`reconciler.toml`"),
        ("reconciler.toml.toml", "`reconciler.toml`"),
        (".reconciler.toml", "`reconciler.toml`"),
        (".env.local", "`.env`"),
        ("env.txt", "`.env`"),
        ("_env", "`.env`"),
        (".env (1)", "`.env`"),
    ],
)
def test_a_file_that_nobody_would_read_is_named(tmp_path: Path, name: str, meant: str) -> None:
    """A cap in a file of almost the right name holds nothing; beside the right one it may be a note."""
    (tmp_path / name).write_text("# RECONCILER_MAX_UNITS_PER_DAY\n")
    with pytest.raises(SettingsError) as raised:
        configuration.load(tmp_path)
    assert name in raised.value.message
    assert meant in raised.value.message
    (tmp_path / meant.strip("`")).write_text("")
    configuration.load(tmp_path)


@pytest.mark.parametrize(
    "name", [".env.example", "reconciler.yaml", "reconciler.log", "environment.yml", ".envrc"]
)
def test_other_files_are_nobodys_settings(tmp_path: Path, name: str) -> None:
    """What other tools call their own is left alone."""
    (tmp_path / name).write_text("RECONCILER_MAX_UNITS_PER_DAY: 1\n")
    assert configuration.load(tmp_path).max_units_per_day is None


@pytest.mark.parametrize("name", [".env", "reconciler.toml"])
def test_a_link_to_nothing_is_no_missing_file(tmp_path: Path, name: str) -> None:
    """What it should lead to may hold a cap: a disk that is not mounted, a secret that is not there yet."""
    (tmp_path / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(SettingsError, match="does not exist"):
        configuration.load(tmp_path)


def test_two_spellings_with_two_values_are_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which of them would win is nothing that anybody could know."""
    monkeypatch.setenv("RECONCILER_MAX_UNITS_PER_DAY", "1")
    monkeypatch.setenv("reconciler_max_units_per_day", "100")
    with pytest.raises(SettingsError, match="twice"):
        configuration.load(tmp_path)


def test_an_empty_variable_takes_nothing_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A shell that exports nothing leaves what the files say."""
    (tmp_path / "reconciler.toml").write_text("max_units_per_day = 3\n")
    (tmp_path / ".env").write_text("KLING_API_KEY=k\n")
    monkeypatch.setenv("RECONCILER_MAX_UNITS_PER_DAY", "")
    monkeypatch.setenv("KLING_API_KEY", "")
    settings = configuration.load(tmp_path)
    assert settings.max_units_per_day == 3
    assert settings.api_key is not None


@pytest.mark.parametrize(
    "line",
    [
        "RECONCILER_MAX_UNITS_PER_DAY: 1",
        "RECONCILER_MAX_UNIT_PER_DAY=1",
        "set RECONCILER_MAX_UNITS_PER_DAY=1",
    ],
)
def test_nothing_is_bought_in_spite_of_a_cap(shell: Shell, sim: Simulator, line: str) -> None:
    """`apply --yes` ends with 1 and a sentence, before it asks anybody for anything."""
    shell.write("dance.yaml")
    (shell.root / ".env").write_text(line + "\n")
    code, out, err = shell("apply", "--yes")
    assert (code, sim.billed()) == (1, {})
    assert ".env:1" in err
    assert "Traceback" not in out + err
    code, document, _ = shell("apply", "--yes", "--json")
    assert (code, set(json.loads(document))) == (1, {"error"})


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("RECONCILER_MAX_UNIT_PER_DAY=0\n", ".env:1"),
        (None, "`.env` is gone"),
    ],
)
def test_a_reload_that_cannot_be_read_keeps_the_cap_that_held(
    project: Project, sim: Simulator, text: str | None, word: str
) -> None:
    """Whatever happened to the file; and it is said."""
    path = project.write(".env", "RECONCILER_MAX_UNITS_PER_DAY=0\n")
    with project.watching() as running:
        running.wait_for("cap of 0 units")
        path.unlink() if text is None else path.write_text(text)
        running.interrupt(signal.SIGHUP)
        running.wait_for("the earlier ones stay in force")
        running.interrupt(signal.SIGTERM)
        done = running.ended(within=30)
    assert word in done.err
    assert sim.billed() == {}


def test_a_reload_says_what_it_changed(project: Project, sim: Simulator) -> None:
    """Whoever removes a cap reads that it is gone."""
    path = project.write(".env", "RECONCILER_MAX_UNITS_PER_DAY=0\n")
    with project.watching() as running:
        running.wait_for("cap of 0 units")
        path.write_text("")
        running.interrupt(signal.SIGHUP)
        running.wait_for("RECONCILER_MAX_UNITS_PER_DAY: 0, now not set (default)")
        running.interrupt(signal.SIGTERM)
        running.ended(within=30)
