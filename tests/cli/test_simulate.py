"""The simulator as a command: it misbehaves as it was told to, or says why it cannot."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from reconciler.simulator.config import API_KEY
from tests.simulator.caller import TASKS, order

from .shell import Shell


@contextmanager
def simulating(folder: Path, *arguments: str) -> Iterator[httpx.Client]:
    """Run the command while the block lasts; gives somebody who calls it with a key."""
    command = [sys.executable, "-m", "reconciler", "simulate", "--json", "--port", "0", "--draft"]
    with subprocess.Popen(
        [*command, "--dir", str(folder), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            document = line if line.strip() != "{" else line + until_brace(process.stdout)
            headers = {"authorization": f"Bearer {API_KEY}"}
            base_url = json.loads(document)["base_url"]
            with httpx.Client(base_url=base_url, headers=headers, trust_env=False) as http:
                yield http
        finally:
            process.terminate()
            process.communicate(timeout=20)


def until_brace(lines: Iterator[str]) -> str:
    """Return the rest of an indented JSON document."""
    rest = ""
    for line in lines:
        rest += line
        if line.rstrip() == "}":
            break
    return rest


def test_faults_come_from_a_file_and_from_the_command_line(tmp_path: Path) -> None:
    """The rules of the file first, then those of the options, and knobs beside them."""
    plan = tmp_path / "plan.json"
    plan.write_text(json.dumps([{"endpoint": "list", "effect": {"status": 503}}]))
    rule = json.dumps({"endpoint": "create", "when": {"first": 1}, "effect": {"refuse": 1302}})
    with simulating(
        tmp_path / "account",
        *("--faults", str(plan), "--fault", rule, "--fault", '{"effect": {"delay_s": 0}}'),
        *("--set", "duplicate_ids=first", "--set", "unknown_ids=empty"),
    ) as http:
        rules = http.get("/simulator/faults").json()["rules"]
        assert [rule["endpoint"] for rule in rules] == ["list", "create", "*"]
        assert http.get(TASKS).status_code == 503
        assert http.post(TASKS, json=order("one")).json()["code"] == 1302
        ids = {http.post(TASKS, json=order("one")).json()["data"]["task_id"] for _ in range(2)}
        assert len(ids) == 1
        assert http.get(f"{TASKS}/nobody").json()["data"] == {}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--set", "query_lag=5"), "did you mean `query_lag_s`?"),
        (("--set", "duplicate_ids=no"), "must be one of refuse, first, bill_again"),
        (("--fault", "{"), "a rule is a JSON object"),
        (("--fault", '{"effect": {"explode": 1}}'), "does not know explode"),
        (("--faults", "missing.json"), "missing.json cannot be read"),
        (("--faults", "broken.json"), "broken.json is not JSON"),
        (("--faults", "wrong.json"), "wrong.json: rule 1: endpoint must be one of"),
    ],
)
def test_what_it_cannot_do_is_wrong_usage(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    said: str,
) -> None:
    """Exit 64 with a sentence, before anything is served or written."""
    monkeypatch.chdir(tmp_path)
    Path("broken.json").write_text("[")
    rule = {"endpoint": "create", "effect": {"status": 500}}
    Path("wrong.json").write_text(json.dumps([rule, {**rule, "endpoint": "delete"}]))
    code, out, err = Shell(tmp_path / "project", capsys)("simulate", *arguments)
    assert (code, out) == (64, "")
    assert said in " ".join(err.split())
    assert not Path(".simulator").exists()
