"""Where the program can be killed: the steps of a clean run, and what a killed project must still come to."""

from __future__ import annotations

import fcntl
import hashlib
import json
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support import killer
from tests.support.money import assert_bought_once, assert_quiet
from tests.support.project import POSTERS, Done, Project, picture
from tests.support.simulator import Simulator, simulator

KILLED = -9
WORLD: Mapping[str, Any] = {"duplicate_ids": "bill_again", "query_lag_s": 0.3}
"""The least forgiving provider: it bills a repeated id, and shows a new task only after a while."""


@dataclass(frozen=True)
class Point:
    """A moment to be killed at, as the killer's plan and as a short name."""

    plan: str
    name: str


def wish(project: Project, name: str) -> None:
    """Write a spec that nobody else asks for, with a local image."""
    project.env |= POSTERS
    picture(project.specs / "girl.png")
    project.spec(image_url="girl.png", prompt=name)


def run_killed(project: Project, plan: str) -> Done:
    """Run `apply --yes` under a killer's plan."""
    arguments = ["--root", str(project.root), "apply", "--yes", "--json"]
    return project.run(
        command=[sys.executable, "-m", "tests.support.killer", plan, "--", *arguments]
    )


def record(project: Project) -> list[tuple[str, int]]:
    """Run a clean apply and return its steps in order: name, and the number of that name's occurrence."""
    file = project.root.parent / "steps.jsonl"
    done = run_killed(project, f"record={file}")
    if done.code != 0:
        raise AssertionError(f"the clean run failed: {done}")
    steps = [json.loads(line) for line in file.read_text().splitlines()]
    return [(name, occurrence) for name, occurrence in steps]


def assert_survived(project: Project, sim: Simulator) -> None:
    """One apply finishes, each id was billed once, a further apply is quiet, and no rubbish lies about."""
    assert_bought_once(project, sim, project.apply())
    assert_quiet(project, sim)
    assert not [path for path in project.specs.rglob("*") if path.name.startswith(".")]
    assert not [path for path in project.state.rglob("*.part") if path.is_file()]


def points(steps: Sequence[tuple[str, int]]) -> list[Point]:
    """Return the moments around each distinct step's first occurrence, from the intent on.

    Right after a step and just before the next one are the same moment, so it is listed once; so are the
    statements of one transaction, which leave nothing behind before its commit.
    """
    steps = [step for step in steps if not step[0].startswith("execute ")]
    moments: dict[int, tuple[str, int]] = {}  # moment i lies before step i
    for index in range(_intent(steps), len(steps)):
        if steps[index][1] == 1:
            moments.setdefault(index, ("before", index))
            moments[index + 1] = ("after", index)
    found, names = [], set[str]()
    for moment in sorted(moments):
        edge, index = moments[moment]
        step, occurrence = steps[index]
        name = f"{edge} {_short(step)}"
        while name in names:
            name += "+"
        names.add(name)
        found.append(Point(f"{edge}={step}#{occurrence}", name))
    return found


def discovered() -> list[Point]:
    """Return the points of the program as it is now; one clean run, remembered until a source file changes."""
    place = Path(tempfile.gettempdir()) / f"reconciler-steps-{_sources()}.json"
    with _alone(place.with_suffix(".lock")):
        if not place.exists():
            with tempfile.TemporaryDirectory() as folder, simulator(**WORLD) as sim:
                project = Project(Path(folder) / "project", sim.env())
                wish(project, "recorded")
                draft = place.with_suffix(".part")
                draft.write_text(json.dumps(record(project)))
                draft.replace(place)
        return points([(name, occurrence) for name, occurrence in json.loads(place.read_text())])


def sample(every: Sequence[Point]) -> list[Point]:
    """Return every commit, request and answer, and each second line that changes something else, whoever led to it."""
    seen, found = set[str](), []
    for point in every:
        edge, step, line, *_ = point.name.rstrip("+").split()
        at_stake = step in {"commit", "send", "recv"}
        if at_stake or (f"{edge} {step} {line}" not in seen and len(seen) % 2):
            found.append(point)
        if not at_stake:
            seen.add(f"{edge} {step} {line}")
    return found


def _intent(steps: Sequence[tuple[str, int]]) -> int:
    """Return the step that commits the intent: the last commit before the first create leaves."""
    sent = next(i for i, (name, _) in enumerate(steps) if name == "send POST create")
    return max(i for i in range(sent) if steps[i][0].startswith("commit "))


def _short(step: str) -> str:
    """Return the innermost line, and the line of another package that led to it."""
    function, _, chain = step.partition(" ")
    places = chain.split(" < ")
    package = places[0].partition(".")[0]
    other = [place for place in places if not place.startswith(package)]
    return " ".join([function, places[0], *other[:1]])


def _sources() -> str:
    files = [*sorted(Path(killer.PACKAGE).rglob("*.py")), Path(killer.__file__), Path(__file__)]
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
