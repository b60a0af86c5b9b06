"""What people install: on which Pythons, with which versions of what, and that a package holds all of it."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PYTHONS = ROOT / ".ci" / "pythons"
_SUPPORTED = re.search(r'^SUPPORTED="([^"]+)"', PYTHONS.read_text(), re.MULTILINE)
assert _SUPPORTED is not None
SUPPORTED = sorted(_SUPPORTED[1].split(), key=lambda version: int(version.partition(".")[2]))


def pins(lock: str) -> dict[str, list[str]]:
    """Return the versions that a lock file pins, and the condition of each, by package."""
    found: dict[str, list[str]] = {}
    for name, version in re.findall(
        r"^([a-z0-9.-]+)==(.+?) \\$", (ROOT / lock).read_text(), re.MULTILINE
    ):
        found.setdefault(name, []).append(version)
    return found


def test_what_is_supported_is_what_is_looked_for_and_claimed() -> None:
    """The range of `requires-python`, the classifiers and the interpreters that CI runs are the same."""
    first, last = SUPPORTED[0], SUPPORTED[-1]
    after = f"3.{int(last.partition('.')[2]) + 1}"
    assert PROJECT["requires-python"] == f">={first},<{after}"
    prefix = "Programming Language :: Python :: 3."
    claimed = [line for line in PROJECT["classifiers"] if line.startswith(prefix)]
    assert [f"3.{line.removeprefix(prefix)}" for line in claimed] == SUPPORTED


LOCKS = ["requirements.lock", "requirements.lowest.lock", "requirements.runtime.lock"]


@pytest.mark.parametrize("lock", LOCKS)
def test_every_python_gets_the_same_versions(lock: str) -> None:
    """Nothing is pinned twice, or for some Pythons only: what was tested on one is what runs on another."""
    assert [name for name, versions in pins(lock).items() if len(versions) > 1] == []
    assert [
        name for name, (pin,) in pins(lock).items() if re.search(r"python_(full_)?v", pin)
    ] == []


def test_the_oldest_versions_that_are_allowed_are_the_ones_that_are_tested() -> None:
    """Every dependency has a lower bound, and the lock of the oldest versions pins just that."""
    tested = {
        name: version.split(" ")[0] for name, (version,) in pins("requirements.lowest.lock").items()
    }
    for dependency in PROJECT["dependencies"]:
        name, bound = re.fullmatch(
            r"([A-Za-z0-9-]+)(?:\[[a-z]+\])?>=([0-9.]+)(?:,<[0-9.]+)?", dependency
        ).groups()  # type: ignore[union-attr]
        version = tested[name.lower()]
        assert f"{version}.0.0".startswith(f"{bound}."), (dependency, version)


def test_what_runs_is_a_part_of_what_was_tested_and_nothing_of_what_develops() -> None:
    """The lock of a deployment pins the same files as the one that CI runs, and no tool of the developers."""
    runs, tested = (files("requirements.runtime.lock"), files("requirements.lock"))
    assert {pin: tested.get(pin) for pin in runs} == runs
    whole = tomllib.loads((ROOT / "pyproject.toml").read_text())
    named = [re.match(r"[A-Za-z0-9-]+", one) for one in whole["dependency-groups"]["dev"]]
    tools = {one[0].lower() for one in named if one}
    assert {pin.partition("==")[0] for pin in runs}.isdisjoint({*tools, "pip", "setuptools"})
    wanted = {re.match(r"[A-Za-z0-9-]+", one)[0].lower() for one in PROJECT["dependencies"]}  # type: ignore[index]
    assert wanted <= {pin.partition("==")[0] for pin in runs}


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_names_no_address(lock: str) -> None:
    """Where packages come from is the machine's setting: an address would be somebody else's mirror."""
    assert "://" not in (ROOT / lock).read_text()


def files(lock: str) -> dict[str, set[str]]:
    """Return the hashes of every pinned version of a lock file."""
    found: dict[str, set[str]] = {}
    for block in re.split(r"^(?=[a-z0-9])", (ROOT / lock).read_text(), flags=re.MULTILINE):
        if pin := re.match(r"\S+==\S+", block):
            found[pin[0]] = set(re.findall(r"--hash=(\S+)", block))
            assert found[pin[0]], pin
    return found


def looked_for(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Ask for the interpreters of a home folder."""
    tools = home / "tools"  # without the machine's own Pythons
    tools.mkdir(exist_ok=True)
    (tools / "tr").unlink(missing_ok=True)
    (tools / "tr").symlink_to(shutil.which("tr") or "tr")
    env = {"HOME": str(home), "PATH": f"{home}/bin:{tools}"}
    return subprocess.run(
        [str(PYTHONS), *arguments], env=env, capture_output=True, text=True, check=False
    )


def interpreter(path: Path, said: str) -> None:
    """Put a program there that answers as a Python of this version would."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{said}\n")
    path.chmod(0o755)


def test_the_newest_supported_python_is_found_wherever_a_version_manager_put_it(
    tmp_path: Path,
) -> None:
    """A shim that leads nowhere, and a Python that is too new, are passed over."""
    newest = SUPPORTED[-1]
    interpreter(tmp_path / "bin" / f"python{newest}", "exit 127  # a shim")
    interpreter(tmp_path / "bin" / "python3", "echo 3.99 /too/new")
    for folder in ("share/uv/python/cpython-x", "share/mise/installs/python/x"):
        interpreter(tmp_path / f".local/{folder}/bin/python{newest}", f"echo {newest} /of/{folder}")
    found = looked_for(tmp_path, "newest")
    assert found.stdout == "/of/share/mise/installs/python/x\n"
    assert newest not in looked_for(tmp_path, "missing").stdout.split()


def test_a_python_that_is_not_supported_is_refused_in_a_sentence(tmp_path: Path) -> None:
    """`PYTHON=` with a version that is too old ends `make setup` and names the versions that will do."""
    interpreter(tmp_path / "bin" / "python3.10", "echo 3.10 /old")
    refused = looked_for(tmp_path, "newest", "python3.10")
    assert refused.returncode == 1
    assert refused.stderr.startswith(
        "`python3.10` is no Python that is supported (one of 3.14 3.13"
    )


def contents(wheel: Path) -> dict[str, str]:
    """Return the digest of every file of a wheel."""
    with zipfile.ZipFile(wheel) as opened:
        return {name: hashlib.sha256(opened.read(name)).hexdigest() for name in opened.namelist()}


def built(kind: str, source: Path, into: Path) -> Path:
    """Build a package of a source tree, without a network; returns the file."""
    words = [sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", str(into)]
    subprocess.run(words, cwd=source, check=True, capture_output=True)
    (made,) = into.iterdir()
    return made


def test_a_wheel_of_the_source_distribution_is_the_wheel_of_the_git_tree(tmp_path: Path) -> None:
    """Both hold the same files, the samples of the demonstration among them, and every file of the package."""
    tree = tmp_path / "tree"
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, text=True
    ).stdout.split("\0")
    files = [name for name in listed if name and (ROOT / name).exists()]
    for name in files:
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, tree / name)
    with tarfile.open(built("sdist", tree, tmp_path / "sdist")) as archive:
        archive.extractall(tmp_path / "unpacked", filter="data")
    (unpacked,) = (tmp_path / "unpacked").iterdir()
    direct = built("wheel", tree, tmp_path / "direct")
    again = built("wheel", unpacked, tmp_path / "again")
    assert contents(direct) == contents(again)
    assert (
        hashlib.sha256(direct.read_bytes()).digest() == hashlib.sha256(again.read_bytes()).digest()
    )
    ours = {name for name in files if name.startswith("reconciler/")}
    assert ours <= set(contents(direct))
    assert "reconciler/cli/samples/assets/bigbuckbunny.mp4" in ours
