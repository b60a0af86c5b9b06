"""Settings from the environment, `.env` and `reconciler.toml`: a value that works, or a sentence that names it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import example
from hypothesis import strategies as st

from reconciler.settings.definitions import Settings, names_of
from tests.fuzz.commands import said
from tests.fuzz.damage import bytes_of, damaged
from tests.fuzz.profile import fuzz
from tests.support.project import spec_text

SECRET = "secret-that-opens-the-account"
PLACES = [
    "",
    ".",
    "..",
    "../outside",
    "a/b",
    "specs",
    "specs/good.yaml",
    "/dev/null",
    "x\0y",
    "n" * 300,
    "é",
    "\udcff",
    "~",
]
ELSEWHERE = {"RECONCILER_STATE_DIR", "RECONCILER_DATABASE_URL", "RECONCILER_LOG_FILE"}
"""Settings that name places; only those above are tried, all of which lie in the folder or can hold nothing."""
VALUES = st.one_of(
    st.sampled_from(
        ["", "0", "-1", "5", "1e3", "1e999999999", "1e-999999999", "NaN", "inf", "9" * 5000, "true", "maybe", "{}", "[]", "[" * 5000,
         '{"kling-v3": {"pro": "1e999999"}}', '{"kling-v2-6": {"std": "1e9999999"}}', '{"a": ' * 900, '{"kling-v3": {"pro": NaN}}',
         '{"x": {"y": 1}}', "complete,cap", "json", "http://", "https://h/callbacks", "http://u:p@h", "ftp://x", "\udcff", "é"]
    ),
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20),
)  # fmt: skip
NAMES = sorted(
    {
        *(names_of(field)[0] for field in Settings.model_fields.values()),
        "KLINGAI_SECRET_KEY",
        "RECONCILER_NO_SUCH_THING",
    }
    - {"KLING_BASE_URL"}
    - ELSEWHERE
)
ODD_PLACES = st.dictionaries(
    st.sampled_from(sorted(ELSEWHERE | {"RECONCILER_SPECS_DIR"})),
    st.sampled_from(PLACES),
    max_size=2,
)
GIVEN = st.builds(
    lambda one, other: one | other,
    st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=3),
    ODD_PLACES,
)
TOML = b"""\
poll_interval = 5
max_units_per_day = 50
absence_grace = 30.5
require_committed = false
log_format = "json"
[prices.kling-v3]
pro = 1.3
std = "0.9"
"""
FOREIGN = bytes_of(
    b"\0", b"\xff", b"\xef\xbb\xbf", b"\r", b"[", b"]", b"[" * 30_000, b"a = " + b"[" * 3000, b"a." * 300, b"9" * 5000, b"1e999",
    b"nan", b"inf", b"1979-05-27", b"'''", b'"', b"=", b"${HOME}", b"${", b"export ", b"# ", b"\n", b"state_dir = 7\n", b"specs_dir = ['a']\n",
    b"prices = 1\n", b"kling_secret_key = 5\n", b"notify_on = [1]\n", b"max_concurrency = true\n", b"log_format = {}\n", b"{a = " * 900,
)  # fmt: skip
DOTENV = b"""\
# settings
RECONCILER_POLL_INTERVAL=5
export RECONCILER_MAX_UNITS_PER_DAY='50'
RECONCILER_LOG_FORMAT="json"
"""


@pytest.fixture(scope="module")
def root() -> Iterator[Path]:
    """A folder with one good spec."""
    with tempfile.TemporaryDirectory(prefix="fuzz-settings-") as folder:
        path = Path(folder, "project/specs/good.yaml")
        path.parent.mkdir(parents=True)
        path.write_text(spec_text())
        yield Path(folder, "project")


def looked_at(root: Path) -> None:
    """Run what reads the settings, with a key among them that nobody may be shown; nothing can be bought."""
    for command in (("plan", "--json"), ("plan",), ("apply", "--json"), ("status",)):
        done = said(root, *command)
        assert SECRET not in done.out + done.err
        assert len(done.out) + len(done.err) < 100_000


def usable(given: dict[str, str]) -> dict[str, str]:
    """Return what an environment can hold at all."""
    return {name: value for name, value in given.items() if "\0" not in value}


@fuzz("settings", 40, given_=GIVEN)
@example(given_={"RECONCILER_PRICES": "[" * 100_000})
@example(given_={"RECONCILER_PRICES": '{"kling-v2-6": {"std": 1e99999999}}'})
def test_any_environment_is_settings_or_a_sentence(root: Path, given_: dict[str, str]) -> None:
    """Whatever the environment holds."""
    with mock.patch.dict(os.environ, {"KLING_SECRET_KEY": SECRET, **usable(given_)}):
        looked_at(root)


@fuzz(
    "settings",
    60,
    data=damaged(st.just(TOML), FOREIGN) | st.lists(FOREIGN, max_size=3).map(b"".join),
)
@example(data=b"poll_interval = " + b"[" * 5000)
@example(data=b"poll_interval = " + b"9" * 5000)
@example(data=b"specs_dir = 'a\\u0000b'".replace(b"'", b'"'))
@example(data=b"state_dir = 'a\\u0000b'".replace(b"'", b'"'))
@example(data=b"log_file = 'a\\u0000b'".replace(b"'", b'"'))
def test_any_configuration_is_settings_or_a_sentence(root: Path, data: bytes) -> None:
    """Whatever `reconciler.toml` holds."""
    with mock.patch.dict(os.environ, {"KLING_SECRET_KEY": SECRET}):
        _with(root, "reconciler.toml", data)


@fuzz(
    "settings",
    60,
    data=damaged(st.just(DOTENV), FOREIGN) | st.lists(FOREIGN, max_size=3).map(b"".join),
)
@example(data=b"RECONCILER_SPECS_DIR=a\0b\n")
@example(data=b"RECONCILER_STATE_DIR=a\0b\n")
@example(data=b"RECONCILER_SPECS_DIR=" + b"s" * 70_000)
def test_any_dotenv_is_settings_or_a_sentence(root: Path, data: bytes) -> None:
    """Whatever `.env` holds, it gives settings or one sentence, and no traceback."""
    _with(root, ".env", data + b"\nKLING_SECRET_KEY=" + SECRET.encode() + b"\n")


def _with(root: Path, name: str, data: bytes) -> None:
    path = root / name
    path.write_bytes(data)
    try:
        looked_at(root)
    finally:
        path.unlink()


@pytest.mark.parametrize("name", [".env", "reconciler.toml"])
@pytest.mark.parametrize(
    "plant",
    [
        os.mkfifo,
        os.mkdir,
        lambda path: path.symlink_to("/dev/zero"),
        lambda path: path.symlink_to(path),
    ],
)
def test_a_settings_file_that_is_none_is_a_sentence(root: Path, name: str, plant: object) -> None:
    """A FIFO, a folder, a device or a circle in the place of a settings file is said, without waiting."""
    assert callable(plant)
    path = root / name
    plant(path)
    try:
        said(root, "plan", "--json")
    finally:
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
