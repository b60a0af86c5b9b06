"""The key stays home: it is in no file and no output, and no request to a result host carries it."""

from __future__ import annotations

import pytest

from tests.support.killpoints import KILLED, run_killed
from tests.support.mishaps import CREATE_MISHAPS, on_create
from tests.support.project import Project, picture
from tests.support.simulator import Simulator

JWT = b"eyJ"


def test_the_key_is_found_nowhere_after_a_run_full_of_failures(
    project: Project, sim: Simulator
) -> None:
    """After every kind of failure nothing under the root, and nothing that was said, holds secret or token."""
    picture(project.specs / "girl.png")
    for name in CREATE_MISHAPS:
        project.spec(f"{name}.yaml", image_url="girl.png", prompt=name)
    project.spec("policy.yaml", prompt="[[policy]]")
    project.spec("fails.yaml", prompt="[[fail: no]]")
    sim.faults(
        [
            {"endpoint": "create", "when": {"calls": [number]}, "effect": dict(effect)}
            for number, effect in enumerate(CREATE_MISHAPS.values(), start=1)
        ]
        + [
            {"endpoint": "result", "when": {"every": 3}, "effect": {"status": 403}},
            {"endpoint": "result", "when": {"every": 4}, "effect": {"redirect": True}},
            {"endpoint": "query", "when": {"calls": [5]}, "effect": {"redirect": True}},
        ]
    )
    project.env["RECONCILER_MAX_CONCURRENCY"] = "5"
    assert run_killed(project, "at=150").code == KILLED
    project.apply("--timeout", "2")
    project.apply(env={"KLING_BASE_URL": "http://127.0.0.1:9/eyJ", "RECONCILER_LOG_FORMAT": "json"})
    done = project.apply()
    assert done.code == 3, done
    project.run("show", "specs/lost.yaml")
    assert sim.requests()["authorization_leaks"] == 0
    assert_no_secret(project, sim)


@pytest.mark.parametrize("static", [False, True], ids=["pair", "static key"])
def test_the_key_is_found_nowhere_after_a_refusal(
    project: Project, sim: Simulator, static: bool
) -> None:
    """A provider that repeats the key in its refusal does not make us write it down."""
    project.spec()
    env: dict[str, str | None] = {}
    if static:
        env = {
            "KLING_ACCESS_KEY": None,
            "KLING_SECRET_KEY": None,
            "KLING_API_KEY": sim.config.api_key,
        }
    key = sim.config.api_key if static else sim.config.secret_key
    sim.faults([on_create({"refuse": 1201, "message": f"key {key} is not good"}, first=9)])
    done = project.apply(env=env)
    assert done.code == 3, done
    assert_no_secret(project, sim)


def assert_no_secret(project: Project, sim: Simulator) -> None:
    """Search all files under the root and all that was ever printed."""
    secrets = [sim.config.secret_key.encode(), sim.config.api_key.encode()]
    said = {"what was printed": "".join(project.said).encode()}
    files = {
        str(path): path.read_bytes()
        for path in project.root.rglob("*")
        if path.is_file() and path.suffix not in {".mp4", ".png"}
    }
    assert any("reconciler.db" in name for name in files)
    for place, data in {**said, **files}.items():
        assert not [secret for secret in secrets if secret in data], place
        assert JWT not in data.replace(b"http://127.0.0.1:9/eyJ", b""), place
