"""Names that the provider chooses: ids, URLs, headers. None decides where a file lands, and none spoils a receipt."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest

from tests.security.relay import Carried, Change, Relay, relay
from tests.support.project import Project
from tests.support.simulator import Simulator

ODD = [
    "../../../x",
    "/etc/x",
    "a/b",
    "..",
    "x" * 400,
    "C:\\x",
    "a b",
    "%2e%2e%2f",
    "-rf",
    ".hidden",
    "con.mp4",
]


@pytest.fixture
def api(sim: Simulator, project: Project) -> Iterator[Relay]:
    with relay(sim.base_url) as made:
        project.env["KLING_BASE_URL"] = made.url
        yield made


def lying(odd: str, true_ids: dict[str, str], results: Relay, sim: Simulator) -> Change:
    """Rename every task and video, and give URLs whose path climbs."""

    def change(carried: Carried, body: bytes) -> tuple[int, dict[str, str], bytes] | None:
        document = json.loads(body) if body.startswith(b"{") else {}
        task = document.get("data")
        if not isinstance(task, dict) or "task_id" not in task:
            return None
        true_ids[odd] = task["task_id"]
        task["task_id"] = odd
        for video in (task.get("task_result") or {}).get("videos", []):
            video["id"] = odd
            video["url"] = video["url"].replace(sim.results_url, results.url)
        return 200, {"content-type": "application/json"}, json.dumps(document).encode()

    return change


@pytest.mark.parametrize("odd", ODD)
def test_no_name_of_the_providers_becomes_a_path(
    project: Project, sim: Simulator, api: Relay, odd: str
) -> None:
    """A hostile task id, video id, URL and Content-Disposition: the files are those of any other run, and are read again."""
    project.spec()
    with relay(sim.results_url) as results:
        true_ids: dict[str, str] = {}
        api.change = lying(odd, true_ids, results, sim)
        api.rewrite = lambda path: (
            f"{path.rpartition('/')[0]}/{true_ids[odd]}"
            if unquote(path.rpartition("/")[2]) == odd
            else path
        )
        results.change = lambda carried, body: (
            200,
            {"content-type": "video/mp4", "content-disposition": f"attachment; filename={odd!a}"},
            body,
        )
        done = project.apply("--timeout", "8")
        assert "Traceback" not in done.err
        assert "mistake in reconciler" not in done.err
    base = project.root.parent
    made = {str(path.relative_to(base)) for path in base.rglob("*") if path.is_file()}
    allowed = (
        "project/specs/dance.",
        "project/state/reconciler.db",
        "project/state/cache.db",
        "project/state/lock",
    )
    objects = {name for name in made if name.startswith("project/state/objects/")}
    assert {n for n in made - objects if not n.startswith(allowed)} == set()
    assert all(set(Path(name).stem) <= set("0123456789abcdef") for name in objects)
    assert list(sim.billed().values()) == [1]
    assert done.code == 0, done
    project.lose("state")
    assert project.apply("--timeout", "8").code == 0
    assert list(sim.billed().values()) == [1]
