"""The commands in process: their documents, sentences and exit codes."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from reconciler.cli.main import run
from reconciler.core.kinds import DEFAULT, keys_of
from reconciler.core.spending import units_text
from reconciler.store.lock import StateLock
from tests.cli.shell import SPEC, Shell
from tests.support.simulator import Simulator


def test_validate_counts_what_is_well(shell: Shell) -> None:
    """The document of a good folder."""
    shell.write("dance.yaml", SPEC + "takes: 2\n")
    assert shell.json("validate") == (0, {"specs": 1, "generations": 2, "errors": []})
    assert shell("validate")[1] == "1 spec, 2 generations: all well\n"


def test_validate_names_the_place_and_the_key_that_was_meant(shell: Shell) -> None:
    """Each error has a file, line, column, key, message and suggestion; the exit code is 1."""
    shell.write("good.yaml")
    shell.write("bad.yaml", SPEC.replace("mode:", "mdoe:"))
    code, document = shell.json("validate")
    assert (code, document["specs"], document["generations"]) == (1, 2, 1)
    wrong = next(error for error in document["errors"] if error["key"] == "mdoe")
    assert (wrong["file"], wrong["line"], wrong["column"], wrong["suggestion"]) == (
        "specs/bad.yaml",
        4,
        1,
        "mode",
    )
    _, _, err = shell("validate")
    assert "specs/bad.yaml:4:1: " in err
    assert "did you mean `mode`?" in err


def test_plan_lists_each_generation_with_its_action_and_cost(shell: Shell) -> None:
    """The document of a plan; where a length is not known, the most it can cost; units are decimal strings."""
    shell.write("dance.yaml", SPEC + "matrix:\n  mode: [std, pro]\n")
    code, document = shell.json("plan")
    assert code == 0
    rows = {
        row["label"]: (row["spec"], row["action"], row["estimated_units"])
        for row in document["actions"]
    }
    assert rows == {
        "std": ("specs/dance.yaml", "submit", "5"),
        "pro": ("specs/dance.yaml", "submit", "8"),
    }
    assert (document["summary"], document["estimated_units"]) == ({"submit": 2}, "13")


def test_plan_tells_changes_by_its_exit_code_only_when_asked(shell: Shell) -> None:
    """`--detailed-exitcode`: 2 with something to do, 0 without; otherwise always 0."""
    assert shell("plan", "--detailed-exitcode")[0] == 0
    shell.write("dance.yaml")
    assert shell("plan")[0] == 0
    assert shell("plan", "--detailed-exitcode")[0] == 2


def test_an_empty_folder_has_nothing_to_do(shell: Shell) -> None:
    """Every command says what to do when there is nothing."""
    for command in ("validate", "plan", "status"):
        code, out, _ = shell(command)
        assert (code, out) == (0, "No specs yet: add a file to the specs folder.\n"), command
    assert shell("apply")[0] == 0
    assert shell.json("status") == (0, {"generations": [], "summary": {}})


@pytest.mark.usefixtures("posters")
def test_apply_ends_with_the_document_of_status(shell: Shell, sim: Simulator) -> None:
    """`apply --json` and `status --json` say the same, with outputs relative to the root."""
    shell.write("dance.yaml")
    code, applied = shell.json("apply", "--yes")
    assert (code, shell.json("status")) == (0, (0, applied))
    (row,) = applied["generations"]
    assert (row["status"], row["units"], applied["summary"]) == ("complete", "2.5", {"complete": 1})
    assert row["outputs"][0]["path"] == "specs/dance.mp4"
    assert [preview["path"] for preview in row.pop("previews")] == ["specs/dance.poster.webp"]
    assert set(row) == {
        "external_task_id",
        "spec",
        "label",
        "status",
        "task_id",
        "reason",
        "units",
        "outputs",
    }


def test_apply_buys_nothing_when_nobody_can_be_asked(shell: Shell, sim: Simulator) -> None:
    """Without a terminal and without --yes: exit 1, a sentence, and not one request."""
    shell.write("dance.yaml")
    code, _, err = shell("apply")
    assert (code, sim.requests()["create_attempts"], sim.requests()["query"]) == (1, 0, 0)
    assert "--yes" in err


def test_apply_that_nobody_agrees_to_prints_its_document(shell: Shell, sim: Simulator) -> None:
    """With `--json` there is one document on stdout, also where nobody could be asked."""
    shell.write("dance.yaml")
    code, document = shell.json("apply")
    assert code == 1
    assert document["error"]["message"] == "there is nobody to ask, so nothing was bought"
    assert sim.billed() == {}


def test_apply_needs_no_key_when_there_is_nothing_to_buy(
    shell: Shell, sim: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder that is complete is complete without a key, also when only the output has to be put back."""
    shell.write("dance.yaml")
    shell("apply", "--yes")
    monkeypatch.delenv("KLING_ACCESS_KEY")
    monkeypatch.delenv("KLING_SECRET_KEY")
    (shell.root / "specs/dance.mp4").unlink()
    assert shell("apply")[0] == 0
    assert (shell.root / "specs/dance.mp4").exists()


def test_a_missing_key_is_a_sentence_before_anything_is_asked(shell: Shell) -> None:
    """It names the variable and where to set it."""
    shell.write("dance.yaml")
    code, _, err = shell("apply", "--yes")
    assert code == 1
    assert "KLING_ACCESS_KEY" in err


def test_a_selection_is_bought_and_the_rest_is_not(shell: Shell, sim: Simulator) -> None:
    """`apply PATH` is about that path alone, relative to the root or to the working folder."""
    shell.write("a.yaml")
    shell.write("b.yaml", SPEC + "prompt: other\n")
    code, document = shell.json("apply", "--yes", "specs/a.yaml")
    assert (code, [row["spec"] for row in document["generations"]]) == (0, ["specs/a.yaml"])
    assert len(sim.billed()) == 1
    assert shell.json("status", str(shell.root / "specs"))[1]["summary"] == {
        "pending": 1,
        "complete": 1,
    }


def test_a_path_that_names_no_spec_is_an_error(shell: Shell) -> None:
    """A typing slip selects nothing, and must not select everything."""
    shell.write("a.yaml")
    code, _, err = shell("plan", "specs/b.yaml")
    assert code == 1
    assert "`specs/b.yaml` names no spec" in err


def test_what_needs_somebody_ends_with_3(shell: Shell, sim: Simulator) -> None:
    """An invalid spec beside a good one: the good one is bought, and the exit code says that somebody is needed."""
    shell.write("a.yaml")
    shell.write("b.yaml", "nonsense: true\n")
    code, document = shell.json("apply", "--yes")
    assert (code, document["summary"]) == (3, {"complete": 1, "invalid": 1})


def test_time_that_runs_out_ends_with_4_and_loses_nothing(shell: Shell, sim: Simulator) -> None:
    """`--timeout`: the task goes on at the provider, and the next run saves it."""
    sim.set_speed(0)
    shell.write("dance.yaml")
    code, document = shell.json("apply", "--yes", "--timeout", "0.5")
    assert code == 4
    assert document["generations"][0]["status"] in {"submitted", "processing"}
    sim.set_speed(600)
    assert shell("apply", "--yes")[0] == 0
    assert list(sim.billed().values()) == [1]


def test_plan_refresh_sees_what_the_provider_has_without_changing_anything(
    shell: Shell, sim: Simulator
) -> None:
    """After the loss of everything local, `plan --refresh` knows that nothing has to be bought, and writes nothing."""
    shell.write("dance.yaml")
    shell("apply", "--yes")
    for path in ("state/reconciler.db", "specs/dance.receipt.json", "specs/dance.mp4"):
        (shell.root / path).unlink()
    assert shell.json("plan")[1]["summary"] == {"submit": 1}
    assert shell.json("plan", "--refresh")[1]["summary"] == {"download": 1}
    assert not (shell.root / "state/reconciler.db").exists()


def test_show_tells_everything_of_a_spec_or_an_id(shell: Shell, sim: Simulator) -> None:
    """By path, by id and by the provider's task id: attempts, history and the provider's request ids."""
    shell.write("dance.yaml")
    shell("apply", "--yes")
    (row,) = shell.json("status")[1]["generations"]
    for what in ("specs/dance.yaml", row["external_task_id"], row["task_id"]):
        code, document = shell.json("show", what)
        (generation,) = document["generations"]
        assert (code, generation["external_task_id"]) == (0, row["external_task_id"])
        kinds = [item["kind"] for item in generation["history"]]
        assert kinds[:2] == ["intent", "accepted"]
        assert any(item["request_id"] for item in generation["history"])
    code, out, _ = shell("show", "specs/dance.yaml")
    assert (code, row["task_id"] in out) == (0, True)


def test_show_of_something_unknown_is_an_error(shell: Shell) -> None:
    """Neither a spec nor an id."""
    code, _, err = shell("show", "nothing")
    assert code == 1
    assert "names no spec" in err


def test_schema_knows_every_key(shell: Shell) -> None:
    """Editors complete what the program understands, and nothing else."""
    code, out, _ = shell("schema")
    document = json.loads(out)
    assert (code, set(document["properties"]), document["additionalProperties"]) == (
        0,
        {"$schema", *keys_of(DEFAULT)},
        False,
    )


@pytest.mark.parametrize(
    "arguments",
    [["no-such-command"], ["plan", "--no-such-option"], ["show"], ["apply", "--timeout", "soon"]],
)
def test_wrong_usage_ends_with_64(shell: Shell, arguments: list[str]) -> None:
    """A command line that cannot be understood is told apart from one that failed."""
    code, _, err = shell(*arguments)
    assert code == 64
    assert "error:" in err


def test_a_command_that_cannot_start_says_so_in_json_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With --json there is one document on stdout, whatever happens."""
    assert run(["--root", str(tmp_path), "status", "--json"]) == 1
    error = json.loads(capsys.readouterr().out)["error"]
    assert "specs" in error["message"]
    assert "--root" in error["hint"]


@pytest.mark.parametrize(
    ("file", "text", "word"),
    [
        ("reconciler.toml", "poll_intervall = 3\n", "poll_interval"),
        ("reconciler.toml", "poll_interval = 'soon'\n", "RECONCILER_POLL_INTERVAL"),
        ("reconciler.toml", "poll_interval = \n", "reconciler.toml"),
        (".env", "RECONCILER_MAX_UNITS_PER_DAY=-1\n", "RECONCILER_MAX_UNITS_PER_DAY"),
        (".env", "KLING_BASE_URL=http://example.com\nKLING_API_KEY=k\n", "https"),
    ],
)
def test_a_wrong_setting_is_named(shell: Shell, file: str, text: str, word: str) -> None:
    """One sentence that names the setting or the file, and nothing is bought."""
    shell.write("dance.yaml")
    (shell.root / file).write_text(text)
    code, _, err = shell("apply", "--yes")
    assert code == 1
    assert word in err


def test_settings_come_from_the_environment_then_env_file_then_ones_own_file_then_the_folder(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The nearer source wins."""
    from reconciler.settings import load

    (shell.root / "reconciler.toml").write_text(
        "poll_interval = 1\nresync_seconds = 11\nlog_format = 'json'\nposters = false\n"
    )
    own = shell.root.parent / "own.toml"
    own.write_text("poll_interval = 2\nresync_seconds = 12\nlog_format = 'console'\n")
    (shell.root / ".env").write_text("RECONCILER_POLL_INTERVAL=3\nRECONCILER_RESYNC_SECONDS=13\n")
    monkeypatch.setenv("RECONCILER_POLL_INTERVAL", "4")
    found = load(shell.root, config=own)
    assert (found.poll_interval, found.resync_seconds, found.log_format) == (4, 13, "console")
    assert not found.posters


def test_a_price_of_ones_own_changes_the_estimate_and_keeps_the_others(shell: Shell) -> None:
    """Prices are settings; the folder can raise one, and lowers none."""
    shell.write("dance.yaml", SPEC + "matrix:\n  mode: [std, pro]\n")
    (shell.root / "reconciler.toml").write_text('[prices.kling-v2-6]\nstd = "2"\npro = 0.1\n')
    units = {row["label"]: row["estimated_units"] for row in shell.json("plan")[1]["actions"]}
    assert units == {"std": "20", "pro": "8"}


def test_a_local_video_without_a_media_store_is_blocked_with_the_way_out(shell: Shell) -> None:
    """The provider reads videos from a URL only; the sentence names the setting."""
    media = Path(__file__).parent.parent / "media" / "bigbuckbunny.mp4"
    (shell.root / "specs/clip.mp4").write_bytes(media.read_bytes())
    shell.write("dance.yaml", SPEC.replace("https://example.com/dance.mp4", "clip.mp4"))
    (row,) = shell.json("plan")[1]["actions"]
    assert row["action"] == "blocked"
    assert "RECONCILER_MEDIA_STORE" in row["reason"]


@pytest.mark.parametrize(
    ("units", "text"),
    [("2.500", "2.5"), ("10", "10"), ("0.000", "0"), ("100.00", "100"), ("1E+2", "100")],
)
def test_units_are_plain_decimals(units: str, text: str) -> None:
    """No exponents and no trailing zeros."""
    from decimal import Decimal

    assert units_text(Decimal(units)) == text


def test_tasks_at_one_host_are_not_looked_for_at_another(
    shell: Shell, sim: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What one provider does not know says nothing about another: with tasks under way, a switched host is an error."""
    shell.write("dance.yaml")
    sim.set_speed(0)
    assert shell("apply", "--yes", "--timeout", "0.5")[0] == 4
    monkeypatch.setenv("KLING_BASE_URL", "https://api-singapore.klingai.com")
    code, _, err = shell("apply", "--yes")
    assert code == 1
    assert "KLING_BASE_URL" in err
    assert "1 task is under way at loopback" in err


def test_one_database_has_one_writer_though_two_folders_use_it(
    shell: Shell, sim: Simulator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """RECONCILER_DATABASE_URL may name one file for two state folders: the lock goes with the file."""
    shell.write("dance.yaml")
    shared = tmp_path / "shared"
    shared.mkdir()
    monkeypatch.setenv("RECONCILER_DATABASE_URL", f"sqlite:///{shared / 'reconciler.db'}")
    with StateLock(shared):
        code, _, err = shell("apply", "--yes")
    assert code == 1
    assert str(os.getpid()) in err
    assert shell("apply", "--yes")[0] == 0


def test_a_local_video_at_a_loopback_that_is_no_simulator_is_a_sentence(
    shell: Shell, sim: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tunnel to the real API hosts nothing: the generation is blocked, and nothing is sent."""
    media = Path(__file__).parent.parent / "media" / "bigbuckbunny.mp4"
    (shell.root / "specs/clip.mp4").write_bytes(media.read_bytes())
    shell.write("dance.yaml", SPEC.replace("https://example.com/dance.mp4", "clip.mp4"))
    monkeypatch.setattr("reconciler.kling.simulator_media.SimulatorMedia.find", _no_simulator)
    code, document = shell.json("apply", "--yes")
    assert (code, document["summary"]) == (3, {"blocked": 1})
    assert "local file" in document["generations"][0]["reason"]
    assert sim.billed() == {}


async def _no_simulator(media: object) -> bool:
    return False


def test_an_output_that_is_put_back_needs_no_provider_and_a_rotten_one_does(
    shell: Shell, sim: Simulator
) -> None:
    """A missing output is published again; when its object has rotted, the result is fetched again in the same run."""
    shell.write("dance.yaml")
    shell("apply", "--yes")
    video = shell.root / "specs/dance.mp4"
    good = video.read_bytes()
    video.unlink()
    (rotten,) = (
        path
        for path in (shell.root / "state/objects").rglob("*")
        if path.is_file() and path.stat().st_size == len(good)
    )
    rotten.chmod(0o644)
    rotten.write_bytes(b"\0" * len(good))
    assert shell("apply", "--yes")[0] == 0
    assert video.read_bytes() == good


def test_what_is_paid_for_and_not_saved_is_said_though_no_spec_wants_it(
    shell: Shell, sim: Simulator
) -> None:
    """A spec that is gone leaves its task: while the result cannot be fetched, the exit code says that somebody is needed."""
    shell.write("dance.yaml")
    sim.set_speed(0)
    shell("apply", "--yes", "--timeout", "0.5")
    (shell.root / "specs/dance.yaml").unlink()
    sim.set_speed(600)
    sim.faults([{"endpoint": "result", "effect": {"redirect": "http://192.0.2.1/elsewhere.mp4"}}])
    code, _, err = shell("apply", "--yes")
    assert code == 3
    assert "not saved yet" in err
    sim.faults([])
    assert shell("apply", "--yes")[0] == 0


def test_a_wrong_defaults_file_is_one_line_and_a_misspelt_name_a_note(
    shell: Shell, sim: Simulator
) -> None:
    """`validate` and `apply` name the defaults file once, with how many wait for it; a note changes no exit code."""
    shell.write("dance.yaml.txt")
    for command in ("validate", "plan", "status", "apply"):
        code, _, err = shell(command)
        assert code == 0, command
        assert "`specs/dance.yaml.txt` is not read as a spec" in err, command
        assert "`dance.yaml`" in err
    for number in range(5):
        shell.write(f"s{number}.yaml", SPEC + f"prompt: take {number}\n")
    shell.write("_defaults.yaml", "model: kling-v3\n")
    _, _, err = shell("validate")
    (line,) = [line for line in err.replace("\n", " ").split("error: ") if "_defaults.yaml" in line]
    assert line.startswith("specs/_defaults.yaml:1:1: ")
    assert "did you mean `model_name`?" in line
    assert "(5 specs wait for it)" in line
    code, _, err = shell("apply", "--yes")
    assert code == 3
    assert "(5 specs wait for it)" in err.replace("\n", " ")
    assert err.count("invalid specs/_defaults.yaml:1:1: ") == 1
    assert {row["reason"][:23] for row in shell.json("status")[1]["generations"]} == {
        "specs/_defaults.yaml:1:"
    }
    assert sim.billed() == {}


def test_an_ignore_file_that_cannot_be_understood_is_an_error_and_buys_nothing(
    shell: Shell, sim: Simulator
) -> None:
    """Its line is named by `validate`, `plan` blocks everything, and `apply --yes` exits 3 without a create."""
    shell.write("dance.yaml")
    (shell.root / ".reconcilerignore").write_text("README.*\n!\n")
    code, document = shell.json("validate")
    (error,) = document["errors"]
    assert (code, error["file"], error["line"]) == (1, ".reconcilerignore", 2)
    actions = {row["spec"]: row["action"] for row in shell.json("plan")[1]["actions"]}
    assert actions == {"specs/dance.yaml": "blocked", ".reconcilerignore": "invalid"}
    assert shell.json("apply", "--yes")[0] == 3
    assert sim.requests().get("create", 0) == 0
