"""The daemon over real files, a real watcher and a real provider on loopback: what is billed, and which bytes are where."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import time
from collections.abc import Callable
from decimal import Decimal
from functools import partial
from pathlib import Path

import httpx
import pytest

from reconciler.core.states import Role, Status
from reconciler.engine.run.daemon import Pace
from reconciler.store.values import Caps, HistoryEntry
from reconciler.workspace.git import Checkout
from tests.engine.test_odd_providers import Altered
from tests.engine.watching import SETTLE, Watching, watching
from tests.engine.world import World
from tests.support.project import Project, picture, sha256, wait_until
from tests.support.simulator import Simulator


def video(project: World, name: str = "dance.mp4") -> Path:
    return project.root / "specs" / name


def creates(sim: Simulator) -> int:
    return sim.requests().get("create", 0)


def is_idle(project: World, *names: str) -> Callable[[], bool]:
    """Whether these videos and their receipts are there."""
    specs = project.root / "specs"
    wanted = [(specs / f"{name}.mp4", specs / f"{name}.receipt.json") for name in names]
    return lambda: all(film.exists() and receipt.exists() for film, receipt in wanted)


def test_a_spec_that_is_there_and_one_that_is_added_are_bought_once_each(
    project: World, sim: Simulator
) -> None:
    """What was missing at the start and what is saved meanwhile become videos with receipts, each billed once."""
    project.write("dance.yaml", prompt="one")
    with watching(project):
        wait_until(is_idle(project, "dance"), "the first video")
        project.write("deep/wave.yaml", prompt="two")
        wait_until(is_idle(project, "deep/wave"), "the second video")
    assert sorted(sim.billed().values()) == [1, 1]


@pytest.mark.parametrize("at_the_end", ["expired", "rejected", "submitting"])
def test_what_was_given_up_is_looked_at_again_while_it_may_turn_up(
    project: World, sim: Simulator, at_the_end: str
) -> None:
    """A daemon lives for months: what it paid for and could not find for a while is found by it, not by the next run."""
    later = {"state": "succeed", "calls": list(range(2, 1000))}  # once its end was seen
    ended = {"endpoint": "query", "when": later, "effect": {"refuse": 1203}}
    hidden = {"endpoint": "query", "effect": {"refuse": 1203}}
    lost = {"endpoint": "create", "when": {"calls": [1]}, "effect": {"drop": "after"}}
    refused = {"endpoint": "create", "when": {"calls": [2]}, "effect": {"refuse": 1301}}
    faults = {"expired": [ended], "rejected": [lost, refused, hidden], "submitting": [lost, hidden]}
    sim.faults(faults[at_the_end])
    project.write("dance.yaml")
    with watching(project, options={"look_again": 500}) as watch:
        (base,) = project.survey().desired.generations
        status = partial(watch.status, base.external_task_id)
        wait_until(lambda: status() == at_the_end, f"its end as {at_the_end}")
        if at_the_end == "submitting":
            wait_until(
                lambda: any("already exists" in one.reason for one in project.told.changes),
                "the word that its id is in use",
            )
        sim.faults([])
        wait_until(is_idle(project, "dance"), "the video")
    assert list(sim.billed().values()) == [1]


def test_an_id_in_use_that_is_never_shown_keeps_no_slot_from_others(
    project: World, sim: Simulator
) -> None:
    """One slot, one generation that "exists already" and is never shown: it says so, and the other is bought."""
    project.write("a.yaml", prompt="one")
    project.transport = Altered(_first_is_in_use())
    with watching(project, concurrency=1):
        wait_until(lambda: "exists" in str(project.told.holds), "its sentence")
        project.write("b.yaml", prompt="two")
        wait_until(is_idle(project, "b"), "the other's video")
    assert list(sim.billed().values()) == [1]


def _first_is_in_use() -> Callable[[httpx.Request], httpx.Response | None]:
    """The first create, and no other, is refused because its id is in use."""
    refused: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response | None:
        if request.method != "POST" or refused:
            return None
        refused.append(request)
        said = {"code": 1201, "message": "External_task_id already exists", "request_id": "r"}
        return httpx.Response(400, json=said)

    return answer


@pytest.mark.parametrize("when", ["before the watch begins", "under its eyes"])
def test_a_lost_receipt_of_what_failed_is_written_again(
    project: World, sim: Simulator, when: str
) -> None:
    """What needs somebody is on record beside its spec as well as what was delivered: it may have cost something."""
    sim.faults([{"endpoint": "create", "effect": {"fail": "bad luck"}}])
    project.write("dance.yaml")
    receipt = video(project, "dance.receipt.json")
    with watching(project):
        wait_until(receipt.exists, "its receipt")
        if when == "under its eyes":
            receipt.unlink()
            wait_until(receipt.exists, "its receipt, again")
    whole = receipt.read_text()
    if when == "before the watch begins":
        receipt.unlink()
        with watching(project):
            wait_until(receipt.exists, "its receipt, again")
    assert receipt.read_text() == whole
    assert '"status": "failed"' in whole


def test_five_saves_while_typing_buy_one_generation(project: World, sim: Simulator) -> None:
    """Saves that follow each other within the settling time are one wish: the last."""
    with watching(project, pace=Pace(settle=600, tick=50)):
        for typed in ("a", "a g", "a gi", "a gir", "a girl"):
            project.write("dance.yaml", prompt=typed)
            time.sleep(0.05)  # a typist's pace: well within the settling time
        wait_until(is_idle(project, "dance"), "the video")
    (entry,) = json.loads(video(project, "dance.receipt.json").read_text())["generations"]
    assert entry["request"]["prompt"] == "a girl"
    assert list(sim.billed().values()) == [1]


def test_a_wish_that_goes_before_it_was_sent_costs_nothing(project: World, sim: Simulator) -> None:
    """A spec that waits for a slot and is then deleted, or changed, is never sent as it was."""
    sim.set_speed(1)
    project.write("a.yaml", prompt="holds the only slot")
    with watching(project, concurrency=1):
        wait_until(lambda: creates(sim) == 1, "the first create")
        project.write("b.yaml", prompt="never sent")
        project.write("c.yaml", prompt="not yet right")
        time.sleep(SETTLE / 1000 * 3)  # they are read, and wait for the slot
        project.write("b.yaml").unlink()
        project.write("c.yaml", prompt="right")
        time.sleep(SETTLE / 1000 * 3)
        sim.set_speed(600)
        wait_until(is_idle(project, "a", "c"), "what is still wanted")
    assert creates(sim) == 2
    receipt = json.loads(video(project, "c.receipt.json").read_text())
    assert [entry["request"]["prompt"] for entry in receipt["generations"]] == ["right"]


def test_a_changed_image_and_changed_defaults_reach_the_specs_that_use_them(
    project: World, sim: Simulator
) -> None:
    """Only what depends on a file that changed is bought anew."""
    picture(project.root / "assets" / "girl.png", "teal")
    spec = "image_url: ../assets/girl.png\nvideo_url: https://example.com/d.mp4\ncharacter_orientation: image\n"
    project.write("_defaults.yaml", "mode: std\n")
    project.write("local.yaml", spec)
    project.write("other.yaml", prompt="its own")
    with watching(project):
        wait_until(is_idle(project, "local", "other"), "the first two")
        first = sha256(video(project, "local.mp4"))
        picture(project.root / "assets" / "girl.png", "red")
        wait_until(lambda: creates(sim) == 3, "the purchase for the new image")
        wait_until(lambda: sha256(video(project, "local.mp4")) != first, "its video")
        project.write("_defaults.yaml", "mode: pro\n")
        wait_until(lambda: creates(sim) == 4, "the purchase for the new default")
        wait_until(
            lambda: (
                len(json.loads(video(project, "local.receipt.json").read_text())["generations"])
                == 3
            ),
            "its receipt",
        )
    assert set(sim.billed().values()) == {1}
    assert creates(sim) == 4


def test_an_old_image_outside_the_specs_folder_is_watched_from_the_start(
    project: World, sim: Simulator
) -> None:
    """It was written long before the start: its change is told, and not found by the look at everything alone."""
    girl = project.root / "assets" / "girl.png"
    picture(girl, "teal")
    spec = "image_url: ../assets/girl.png\nvideo_url: https://example.com/d.mp4\ncharacter_orientation: image\n"
    for path in (girl, project.write("dance.yaml", f"{spec}mode: std\n")):
        os.utime(path, (1, 1))
    with watching(project):
        wait_until(is_idle(project, "dance"), "the first video")
    with watching(project):
        picture(girl, "red")
        wait_until(lambda: creates(sim) == 2, "the purchase for the new image")


def test_a_start_writes_what_is_missing_and_leaves_alone_what_is_right(
    project: World, sim: Simulator
) -> None:
    """Receipts that say what the state says, in whatever form, stay; one that is gone or lacks a line is completed."""
    for name in ("right", "formed", "gone", "lacking"):
        project.write(f"{name}.yaml", prompt=name)
    with watching(project):
        wait_until(is_idle(project, "right", "formed", "gone", "lacking"), "the videos")
    receipts = {
        name: video(project, f"{name}.receipt.json") for name in ("right", "gone", "lacking")
    }
    whole = {name: path.read_bytes() for name, path in receipts.items()}
    formed = video(project, "formed.receipt.json")
    formed.write_text(json.dumps(json.loads(formed.read_text())))
    receipts["gone"].unlink()
    receipts["lacking"].write_text('{"schema": 1, "generations": []}\n')
    before, stood = formed.read_bytes(), receipts["right"].stat()
    for path in (project.root / "specs").iterdir():
        os.utime(path, (1, 1))
    with watching(project):
        pass
    assert {name: path.read_bytes() for name, path in receipts.items()} == whole
    assert formed.read_bytes() == before
    assert receipts["right"].stat().st_ino == stood.st_ino
    assert sorted(sim.billed().values()) == [1] * 4


@pytest.mark.parametrize("request_is", ["{}", "[1]", "nonsense", '{"request": 1}'])
def test_a_record_whose_request_is_damaged_stops_nothing_else(
    project: World, sim: Simulator, request_is: str
) -> None:
    """The state says of one complete generation what nobody wrote: the start goes on, and another wish is bought."""
    both = (
        "image_url: https://example.com/girl.png\nvideo_url: https://example.com/d.mp4\nmode: std\n"
    )
    both += "character_orientation: image\nmatrix: {prompt: [a, b]}\n"
    project.write("damaged.yaml", both)
    receipt = video(project, "damaged.receipt.json")
    with watching(project):
        wait_until(lambda: receipt.exists() and receipt.read_text().count("complete") == 2, "both")
    whole = receipt.read_bytes()
    with sqlite3.connect(project.root / "state" / "reconciler.db") as database:
        damage = "UPDATE task SET request = ? WHERE base_id = (SELECT max(base_id) FROM task)"
        database.execute(damage, (request_is,))
    database.close()
    project.write("other.yaml", prompt="other")
    with watching(project):
        wait_until(is_idle(project, "other"), "the other video")
    assert sorted(sim.billed().values()) == [1, 1, 1]
    assert receipt.read_bytes() == whole


def test_going_back_to_an_earlier_prompt_is_free(project: World, sim: Simulator) -> None:
    """A reverted spec gets its earlier video back from the object store, without a request."""
    spec = project.write("dance.yaml", prompt="first")
    first_text = spec.read_text()
    with watching(project):
        wait_until(is_idle(project, "dance"), "the first video")
        first = sha256(video(project))
        project.write("dance.yaml", prompt="second")
        wait_until(lambda: sha256(video(project)) != first, "the second video")
        wait_until(lambda: project.told.changes[-1].status != Status.SUCCEEDED, "its end")
        before = sim.requests()
        spec.write_text(first_text)
        wait_until(lambda: sha256(video(project)) == first, "the first video again")
        assert sim.requests() == before


def test_a_branch_switch_publishes_the_other_branchs_results_without_a_request(
    project: World, sim: Simulator
) -> None:
    """Checking out another branch, videos not committed, brings its results from the object store."""
    git = Project(project.root)
    project.write("dance.yaml", prompt="main")
    git.commit(ignore="state/\n*.mp4\n*.webp\n")
    with watching(project):
        wait_until(is_idle(project, "dance"), "the video of main")
        on_main = sha256(video(project))
        git.commit(ignore="state/\n*.mp4\n*.webp\n")
        git.git("checkout", "--quiet", "-b", "other")
        project.write("dance.yaml", prompt="other")
        project.write("more.yaml", prompt="more")
        wait_until(lambda: creates(sim) == 3, "the purchases of the other branch")
        wait_until(is_idle(project, "dance", "more"), "the videos of the other branch")
        wait_until(lambda: sha256(video(project)) != on_main, "the other video")
        on_other = sha256(video(project))
        wait_until(
            lambda: '"current": false' in video(project, "dance.receipt.json").read_text(),
            "receipt",
        )
        git.commit(ignore="state/\n*.mp4\n*.webp\n")
        before = sim.requests()
        git.git("checkout", "--quiet", "-")
        wait_until(lambda: sha256(video(project)) == on_main, "the video of main again")
        git.git("checkout", "--quiet", "-")
        wait_until(lambda: sha256(video(project)) == on_other, "the other video again")
        assert sim.requests() == before


def test_an_output_that_was_deleted_comes_back_without_a_request(
    project: World, sim: Simulator
) -> None:
    """`watch` keeps the folder true: a deleted video is published again, a deleted receipt written again."""
    project.write("dance.yaml")
    with watching(project):
        wait_until(is_idle(project, "dance"), "the video")
        before = sim.requests()
        video(project).unlink()
        video(project, "dance.receipt.json").unlink()
        wait_until(is_idle(project, "dance"), "both again")
        assert sim.requests() == before


def test_a_poster_that_was_deleted_comes_back_and_a_foreign_one_stays(
    project: World, sim: Simulator
) -> None:
    """Neither asks for anything, and what is not ours is said once, however often it is looked at."""
    project.write("dance.yaml")
    poster = video(project, "dance.poster.webp")
    pace = Pace(settle=50, resync=100, polled=100, tick=50)
    with watching(project, pace=pace, options={"previews": frozenset({Role.POSTER})}) as running:
        wait_until(poster.exists, "the poster")
        before, good = sim.requests(), poster.read_bytes()
        poster.unlink()
        wait_until(poster.exists, "the poster again")
        assert poster.read_bytes() == good
        poster.write_bytes(b"mine")
        wait_until(lambda: "not ours" in " ".join(project.told.said), "the sentence")
        looked_at = running.call(lambda: running.daemon.looked_at)
        wait_until(
            lambda: running.call(lambda: running.daemon.looked_at) > looked_at + 300, "more looks"
        )
        assert sim.requests() == before
    assert poster.read_bytes() == b"mine"
    assert len([said for said in project.told.said if "poster" in said]) == 1
    assert project.told.holds == {}


def test_changes_that_no_event_told_are_found_by_the_periodic_look(
    project: World, sim: Simulator
) -> None:
    """Without a single event, a new spec, a changed one and a lost output are found."""
    project.write("dance.yaml", prompt="one")
    with watching(project, pace=Pace(settle=50, resync=200, polled=200, tick=50), events=False):
        wait_until(is_idle(project, "dance"), "the first video")
        video(project).unlink()
        project.write("wave.yaml", prompt="two")
        wait_until(is_idle(project, "dance", "wave"), "the lost output and the new video")
        assert creates(sim) == 2


def test_an_invalid_spec_is_said_once_and_stops_nobody(project: World, sim: Simulator) -> None:
    """A mistake is told with its place, the others are bought, and its end is told too."""
    project.write("bad.yaml", "mode: std\nmod: pro\n")
    project.write("good.yaml")
    with watching(project):
        wait_until(is_idle(project, "good"), "the good one")
        assert len([said for said in project.told.said if "bad.yaml" in said]) == 1
        project.write("bad.yaml", prompt="right now")
        wait_until(is_idle(project, "bad"), "the mended one")
    assert any("bad.yaml` is valid again" in said for said in project.told.said)


def test_account_trouble_pauses_is_said_once_and_resumes_by_itself(
    project: World, sim: Simulator
) -> None:
    """An empty pack stops submitting for everybody; when it is filled again all are bought, each once."""
    sim.faults([{"endpoint": "create", "effect": {"refuse": 1102}}])
    for number in range(5):
        project.write(f"s{number}.yaml", prompt=f"take {number}")
    with watching(project, options={"first_retry": 300}):
        wait_until(lambda: len(project.told.holds) == 5, "five held generations")
        assert len([said for said in project.told.said if "paused" in said]) == 1
        tried = sim.fired()[0]
        wait_until(lambda: sim.fired()[0] > tried, "another try")
        assert creates(sim) == 0
        sim.faults([])
        wait_until(is_idle(project, *(f"s{n}" for n in range(5))), "all five")
    assert sorted(sim.billed().values()) == [1] * 5
    assert len([said for said in project.told.said if "resumes" in said]) == 1


def test_an_outage_is_one_line_down_and_one_line_up(
    project: World, sim: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A provider that answers nothing for a while is said once, and once when it is over; nothing is lost."""
    monkeypatch.setattr("reconciler.core.account._NOTICED", 300)
    sim.faults([{"endpoint": name, "effect": {"status": 503}} for name in ("query", "list")])
    for number in range(3):
        project.write(f"s{number}.yaml", prompt=f"take {number}")
    with watching(project):
        wait_until(
            lambda: any("no readable answer" in said for said in project.told.said), "the line down"
        )
        sim.faults([])
        wait_until(is_idle(project, "s0", "s1", "s2"), "all three", within=40)
    said = project.told.said
    assert len([one for one in said if "no readable answer" in one]) == 1
    assert len([one for one in said if "answers again" in one]) == 1
    assert sorted(sim.billed().values()) == [1, 1, 1]


def test_a_cap_holds_and_is_told_and_the_rest_waits(project: World, sim: Simulator) -> None:
    """What does not fit under the cap of the day is blocked with a sentence, and not sent while the others are made."""
    for number in range(4):
        project.write(f"s{number}.yaml", prompt=f"take {number}")
    caps = Caps(per_day=Decimal(10), per_run=None)
    sim.set_speed(0)  # what is made may cost less than was thought, and make room for a third
    with watching(project, caps=caps) as watched:
        wait_until(
            lambda: sum("cap" in why for why in project.told.holds.values()) == 2,
            "two that are held",
        )
        assert len([said for said in project.told.said if "of the 10 units" in said]) == 1
        assert len([said for said in project.told.said if "cap" in said]) == 1
        assert len(watched.call(watched.daemon.records.holds)) == 2
    assert creates(sim) == 2
    assert len(project.repository.holds()) == 2


def test_only_what_is_committed_is_bought(project: World, sim: Simulator) -> None:
    """Where commits are required, an edit waits for its commit, and the commit is enough to buy it."""
    git = Project(project.root)
    project.write("dance.yaml", prompt="committed")
    git.commit()
    with watching(project, checkout=Checkout.find(project.root)) as watched:
        wait_until(is_idle(project, "dance"), "the committed one")
        project.write("wave.yaml", prompt="not yet")
        base = wait_for_wish(watched, "specs/wave.yaml")
        wait_until(
            lambda: "commit" in watched.call(lambda: watched.daemon.obstacle(base)), "the reason"
        )
        assert creates(sim) == 1
        git.commit()
        wait_until(is_idle(project, "wave"), "the second, once committed")
    assert creates(sim) == 2


def wait_for_wish(watched: Watching, spec: str) -> str:
    """Return the base id of a spec's only generation, once it is read."""
    wait_until(lambda: watched.call(lambda: watched.index.generations(spec)), "the spec to be read")
    return str(watched.call(lambda: watched.index.generations(spec)[0].external_task_id))


def test_a_daemon_that_is_restarted_goes_on_with_what_is_in_flight(
    project: World, sim: Simulator
) -> None:
    """Leaving and beginning anew while tasks run neither buys again nor loses a result."""
    sim.set_speed(20)
    for number in range(3):
        project.write(f"s{number}.yaml", prompt=f"take {number}")
    with watching(project):
        wait_until(lambda: creates(sim) == 3, "three creates")
    assert not video(project, "s0.mp4").exists()
    with watching(project):
        sim.set_speed(600)
        wait_until(is_idle(project, "s0", "s1", "s2"), "three results")
    assert sorted(sim.billed().values()) == [1, 1, 1]


def test_a_receipt_that_arrives_by_git_is_a_purchase_not_made(
    project: World, sim: Simulator, tmp_path: Path
) -> None:
    """A wish and a colleague's receipt for it arrive together: the result is fetched by id, and nothing is bought."""
    project.write("dance.yaml", prompt="shared")
    with watching(project):
        wait_until(is_idle(project, "dance"), "the colleague's video")
    spec, receipt = (
        video(project, "dance.yaml").read_text(),
        video(project, "dance.receipt.json").read_text(),
    )
    for path in (
        video(project),
        video(project, "dance.yaml"),
        video(project, "dance.receipt.json"),
    ):
        path.unlink()
    project.lose_state()
    with watching(project):
        video(project, "dance.receipt.json").write_text(receipt)
        video(project, "dance.yaml").write_text(spec)
        wait_until(lambda: video(project).exists(), "the video, fetched")
    assert creates(sim) == 1


def test_hints_about_tasks_bring_the_poll_forward_and_forged_ones_cost_nothing(
    project: World, sim: Simulator
) -> None:
    """A callback for a task in flight leads to a look at once; ids that nobody knows lead to none."""
    sim.set_speed(1)
    project.write("dance.yaml")
    slow = {"patience": 1}
    with watching(project, options=slow) as watched:
        wait_until(lambda: creates(sim) == 1, "the create")
        (base,) = sim.billed()
        watched.call(
            lambda: object.__setattr__(
                watched.daemon.turns._terms.rules, "poll_interval", 3_600_000
            )
        )
        time.sleep(0.3)  # the last poll at the old pace
        before = sim.requests()
        for number in range(2000):
            watched.call(partial(watched.daemon.hint, f"forged-{number}"))
        time.sleep(0.3)
        assert sim.requests() == before
        sim.set_speed(600)
        time.sleep(0.5)  # the task ends
        assert not video(project).exists()
        watched.call(lambda: watched.daemon.hint(base))
        wait_until(is_idle(project, "dance"), "the result, after a hint")


def test_trouble_with_the_state_is_said_once_and_ridden_out(project: World, sim: Simulator) -> None:
    """While another program holds the database, nothing is sent and nobody dies; afterwards all goes on."""
    with watching(project):
        blocker = sqlite3.connect(project.root / "state" / "reconciler.db", isolation_level=None)
        blocker.execute("BEGIN IMMEDIATE")
        project.write("dance.yaml")
        wait_until(lambda: project.told.holds or project.told.said, "a sentence", within=20)
        assert creates(sim) == 0
        blocker.execute("ROLLBACK")
        blocker.close()
        project.write("wave.yaml", prompt="another")
        wait_until(is_idle(project, "wave"), "what came later", within=20)
        project.write("dance.yaml", prompt="once more")
        wait_until(is_idle(project, "dance"), "what was held", within=20)
    assert set(sim.billed().values()) == {1}


def test_a_specs_folder_that_goes_and_comes_back_is_no_end(project: World, sim: Simulator) -> None:
    """The folder is renamed away and back: trouble is told, nothing is bought again, and new specs are seen."""
    project.write("dance.yaml")
    with watching(project, pace=Pace(settle=50, resync=300, polled=300, tick=50)) as watched:
        wait_until(is_idle(project, "dance"), "the video")
        specs = project.root / "specs"
        specs.rename(project.root / "away")
        wait_until(lambda: watched.daemon.trouble, "the trouble")
        (project.root / "away").rename(specs)
        wait_until(lambda: not watched.daemon.trouble, "its end")
        project.write("wave.yaml", prompt="new")
        wait_until(is_idle(project, "dance", "wave"), "the new video")
    assert creates(sim) == 2


def test_a_receipt_that_cannot_be_read_holds_and_lets_go(project: World, sim: Simulator) -> None:
    """A broken receipt blocks its own generation and what it names; mended, nothing is blocked any more."""
    project.write("dance.yaml")
    with watching(project) as watched:
        wait_until(is_idle(project, "dance"), "the video")
        receipt = video(project, "dance.receipt.json")
        whole = receipt.read_text()
        project.write("wave.yaml", prompt="not while a receipt may hide it")
        (wish,) = (w for w in project.survey().desired.generations if w.spec == "specs/wave.yaml")
        project.root.joinpath("specs/wave.yaml").unlink()
        receipt.write_text(f'<<<<<<< ours\n"{wish.external_task_id}"\n{whole}')
        holds = watched.daemon.records.holds
        wait_until(lambda: watched.call(holds), "the hold")
        project.write("wave.yaml", prompt="not while a receipt may hide it")
        base = wait_for_wish(watched, "specs/wave.yaml")
        wait_until(lambda: watched.call(lambda: watched.daemon.obstacle(base)), "the obstacle")
        assert creates(sim) == 1
        receipt.write_text(whole)
        wait_until(is_idle(project, "wave"), "the new video")
        wait_until(lambda: not watched.call(holds), "the end of every hold")
    assert receipt.read_text() == whole


@pytest.fixture
def moody_git(project: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put a git on the path that runs the commands in this file first, where there is one."""
    real, mood = shutil.which("git"), tmp_path / "mood"
    shim = tmp_path / "bin" / "git"
    shim.parent.mkdir()
    shim.write_text(f'#!/bin/sh\n[ -e {mood} ] && . {mood}\nexec {real} "$@"\n')
    shim.chmod(0o755)
    Project(project.root).commit()
    monkeypatch.setenv("PATH", f"{shim.parent}:{os.environ['PATH']}")
    return mood


def test_a_git_that_fails_for_a_while_holds_purchases_and_is_asked_again(
    project: World, sim: Simulator, moody_git: Path
) -> None:
    """While git cannot say what is committed nothing is bought, which is said once; when it can, all goes on."""
    project.write("dance.yaml")
    Project(project.root).commit()
    checkout = Checkout.find(project.root)
    moody_git.write_text("echo 'fatal: out of memory' >&2; exit 128\n")
    with watching(project, checkout=checkout, options={"first_retry": 200}) as watched:
        base = wait_for_wish(watched, "specs/dance.yaml")
        wait_until(
            lambda: "out of memory" in watched.call(lambda: watched.daemon.obstacle(base)),
            "the reason",
        )
        assert creates(sim) == 0
        moody_git.unlink()
        wait_until(is_idle(project, "dance"), "the video")
    said = project.told.said
    assert len([one for one in said if "out of memory" in one]) == 1
    assert len([one for one in said if "can tell again" in one]) == 1
    assert list(sim.billed().values()) == [1]


def test_a_git_that_hangs_does_not_keep_the_daemon_from_leaving(
    project: World, sim: Simulator, moody_git: Path
) -> None:
    """A question under way is given up with all that git has started (`watching` sees to the time)."""
    asked = moody_git.with_name("asked")
    checkout = Checkout.find(project.root)
    with watching(project, checkout=checkout):
        moody_git.write_text(f"touch {asked}; sleep 60\n")
        project.write("dance.yaml")
        wait_until(asked.exists, "a question to git")
    assert creates(sim) == 0


def test_old_history_goes_piece_by_piece_and_nobody_waits_for_it(
    project: World, sim: Simulator
) -> None:
    """Some thousand old lines are removed over several looks; a save in between is acted on before they are gone."""
    lines = 5_000
    project.repository.note([HistoryEntry("mc1-old", 1, "seen", "x") for _ in range(lines)])
    with watching(project, pace=Pace(settle=0, tick=100)) as watched:
        project.write("dance.yaml")
        wait_until(lambda: creates(sim) == 1, "the create")
        left = watched.call(lambda: len(project.repository.history("mc1-old")))
        assert 0 < left < lines
        wait_until(
            lambda: not watched.call(lambda: project.repository.history("mc1-old")), "the end"
        )
