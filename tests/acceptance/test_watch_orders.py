"""What others tell a running `watch`, and what it tells them: orders, callbacks, the page, notifications, an outage."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from socket import socket

import httpx
import pytest

from reconciler.simulator.config import ACCESS_KEY, SECRET_KEY
from tests.notifications.webhook import webhook
from tests.support.killpoints import WORLD
from tests.support.money import assert_bought_once, assert_quiet, film
from tests.support.project import IMAGE, VIDEO, Done, Project, sha256, wait_until
from tests.support.simulator import SPEED, Simulator, simulator

QUICK = {"RECONCILER_SETTLE_SECONDS": "0.2", "RECONCILER_RESYNC_SECONDS": "2"}
RARELY = {"RECONCILER_POLL_INTERVAL": "3600"}
FAILS = "[[fail: too dark]]"


@pytest.fixture
def sim() -> Iterator[Simulator]:
    """The least forgiving provider: it bills whatever is sent twice."""
    with simulator(**WORLD) as running:
        yield running


@pytest.fixture
def folder(tmp_path: Path, sim: Simulator) -> Project:
    """A project whose specs settle quickly, and whose folder is looked at often."""
    return Project(tmp_path / "project", {**sim.env(), **QUICK})


def status(project: Project) -> dict[str, str]:
    """Return the status of every spec's only generation, by the spec's name."""
    rows = project.status().document["generations"]
    return {Path(row["spec"]).stem: row["status"] for row in rows}


def assert_done(done: Done, *words: str) -> None:
    """The daemon did it, and these words were said."""
    assert done.code == 0, done
    for word in (*words, "The running daemon did this"):
        assert word in done.out, done


def forget_when_shown(folder: Project, name: str) -> None:
    """Forget a purchase as soon as its grace period is over."""
    wait_until(
        lambda: "is forgotten" in folder.run("forget", name, "--yes").out, "the end of the grace"
    )


def free_port() -> int:
    """Return a port where nobody listens."""
    with socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_an_outage_at_the_start_is_said_once_and_ridden_out(tmp_path: Path) -> None:
    """Nobody answers: one line after a while; then the provider comes up: one line, and what is wanted is bought once.

    Meanwhile somebody goes on editing, so that nobody here waits for a long back-off; what was wanted in between
    costs nothing.
    """
    port = free_port()
    here = {"KLING_BASE_URL": f"http://127.0.0.1:{port}"}
    keys = {"KLING_ACCESS_KEY": ACCESS_KEY, "KLING_SECRET_KEY": SECRET_KEY}
    project = Project(tmp_path / "project", {**here, **keys, **QUICK})
    with project.watching() as running:
        for version in range(40):
            project.spec(prompt=f"version {version}")
            with suppress(AssertionError):
                running.wait_for("the provider gives no readable answer", within=1)
                break
        for prompt in ("still down", "and still"):
            project.spec(prompt=prompt)
            with pytest.raises(AssertionError):  # too early: nobody answers yet
                running.wait_for("answers again", within=1.5)
        with simulator(**WORLD, port=port) as sim:
            project.spec(prompt="the last word")
            wait_until(project.receipts, "the video")
            said = running.err.read_text()
            assert said.count("gives no readable answer") == 1, said
            assert said.count("answers again") == 1, said
            assert_bought_once(project, sim, project.status())
            assert len(sim.billed()) == 1


def test_retry_has_the_daemon_buy_one_more_attempt(folder: Project, sim: Simulator) -> None:
    """What failed is sent once more, and fails again, and is left alone; what needs no retry says so."""
    folder.spec("bad.yaml", prompt=FAILS)
    with folder.watching() as running:
        running.wait_for("too dark")
        assert_done(folder.run("retry", "specs/bad.yaml", "--yes"), "attempt 2 is wanted")
        wait_until(lambda: running.err.read_text().count(" failed ") == 2, "the second failure")
        folder.spec("good.yaml")
        wait_until(lambda: folder.receipts().get("specs/good.receipt.json"), "the next purchase")
        assert "Nothing to try again" in folder.run("retry", "specs/good.yaml").out
        assert status(folder) == {"bad": "failed", "good": "complete"}
    assert sim.requests()["create_attempts"] == 3


def test_prune_has_the_daemon_remove_what_nobody_wants(folder: Project, sim: Simulator) -> None:
    """The orphan goes, and what was left in the state, and nothing else; the wish's return needs no request."""
    old, video = folder.spec("old.yaml", prompt="old"), folder.specs / "old.mp4"
    folder.spec("kept.yaml", prompt="kept")
    with folder.watching():
        wait_until(lambda: len(folder.receipts()) == 2, "the videos")
        made, wish = sha256(video), old.read_text()
        old.unlink()
        assert folder.run("prune").code == 1
        assert video.exists()
        assert_done(folder.run("prune", "--yes"), "specs/old.mp4")
        assert [*folder.videos()] == ["specs/kept.mp4"]
        assert "Nothing to prune" in folder.run("prune", "--yes").out
        left = folder.root / "state/objects/partial" / f"{'0' * 32}.part"
        left.touch()
        os.utime(left, (1, 1))
        assert_done(folder.run("gc", "--yes"), "removed 1 file")
        assert not left.exists()
        old.write_text(wish)
        wait_until(video.exists, "the return")
        assert sha256(video) == made
    assert sim.requests()["create_attempts"] == sim.requests()["result"] == 2


def test_forget_is_followed_by_a_question_and_no_purchase(folder: Project, sim: Simulator) -> None:
    """What is forgotten and still wanted is asked for by its id: the provider's task is adopted, its file ours again."""
    folder.spec()
    with folder.watching() as running:
        wait_until(folder.receipts, "the video")
        (name,) = sim.billed()
        forget_when_shown(folder, name)
        wait_until(lambda: running.err.read_text().count(" complete ") == 2, "the adoption")
        wait_until(folder.receipts, "the receipt")
    assert sim.requests()["create_attempts"] == 1
    assert_quiet(folder, sim)


def test_forget_of_what_the_provider_forgot_too_leaves_its_file_in_the_way(
    folder: Project, sim: Simulator
) -> None:
    """Its video counts as somebody else's from then on: blocked, not bought, until it is moved away."""
    folder.spec()
    video = folder.specs / "dance.mp4"
    with folder.watching():
        wait_until(folder.receipts, "the video")
        made = sha256(video)
        sim.advance(31 * 24 * 3600)
        (name,) = sim.billed()
        forget_when_shown(folder, name)
        folder.spec("next.yaml", prompt="next")
        wait_until(lambda: "specs/next.receipt.json" in folder.receipts(), "the next purchase")
        assert (sim.billed()[name], sha256(video)) == (1, made)
        assert status(folder) == {"dance": "blocked", "next": "complete"}
        video.rename(folder.root / "mine.mp4")
        wait_until(lambda: "specs/dance.receipt.json" in folder.receipts(), "the purchase")
        assert sim.billed()[name] == 2


def test_import_has_the_daemon_fetch_a_task_made_elsewhere(folder: Project, sim: Simulator) -> None:
    """A task under another id stands for a wish that a cap holds: its result is fetched and nothing is bought."""
    made = httpx.post(
        f"{sim.base_url}/v1/videos/motion-control",
        headers={"Authorization": f"Bearer {sim.config.api_key}"},
        json={
            "image_url": IMAGE,
            "video_url": VIDEO,
            "prompt": "by hand",
            "character_orientation": "image",
            "mode": "std",
        },
    ).json()["data"]["task_id"]
    folder.spec()
    with folder.watching(env={"RECONCILER_MAX_UNITS_PER_DAY": "0"}) as running:
        running.wait_for("cap of 0 units")
        bound = folder.run("import", made, "--for", "specs/dance.yaml")
        assert_done(bound, f"task {made}", "NOTHING PROVES")
        wait_until((folder.specs / "dance.mp4").exists, "the video")  # its receipt may come first
    assert sha256(folder.specs / "dance.mp4") == film(sim, made)
    assert sim.requests()["create_attempts"] == 1


def test_refresh_has_the_daemon_look_now(folder: Project, sim: Simulator) -> None:
    """A task that ended between two rare polls is seen by order, and the daemon goes on and fetches it."""
    sim.set_speed(0)
    folder.spec()
    with folder.watching(env=RARELY) as running:
        running.wait_for(" submitted ")
        wait_until(lambda: sim.requests()["query"] >= 2, "the first poll")  # the next: in an hour
        assert_done(folder.run("refresh"), "nothing changed")
        sim.set_speed(SPEED)
        sim.advance(300)
        assert_done(folder.run("refresh"), "is now succeeded")
        wait_until(folder.receipts, "the video")
        assert_done(folder.run("refresh"), "nothing to ask about")
    assert sim.requests()["create_attempts"] == 1


def test_callbacks_are_hints_and_forged_ones_cost_nothing(folder: Project, sim: Simulator) -> None:
    """Junk and forged ids cost no request, a repeated true id one or two; the provider's calls bring the result."""
    sim.set_speed(0)
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    env = {**RARELY, "RECONCILER_CALLBACK_URL": f"{url}/callbacks"}
    folder.spec()
    with httpx.Client(base_url=url, trust_env=False) as http:

        def looked_again(seconds: float) -> None:
            """Wait until the daemon has looked around this much later."""
            now = datetime.now().astimezone().timestamp()
            wait_until(lambda: looked_at() > now + seconds, "another look")

        def looked_at() -> float:
            return datetime.fromisoformat(http.get("/healthz").json()["last_look"]).timestamp()

        def post(task_id: str, external: str) -> int:
            body = {"task_id": task_id, "task_info": {"external_task_id": external}}
            return http.post("/callbacks", json=body).status_code

        with folder.watching("--http", f"127.0.0.1:{port}", env=env) as running:
            running.wait_for(" submitted ")
            looked_again(3)  # beyond the two seconds between any two polls
            asked = sim.requests()["query"]
            assert {post(str(number), f"mc1-{number}") for number in range(200)} == {204}
            assert http.post("/callbacks", content=b"junk").status_code == 400
            looked_again(0.5)
            assert sim.requests()["query"] == asked
            (name,) = sim.billed()
            assert {post("1", name) for _ in range(200)} == {204}
            looked_again(0.5)
            assert asked < sim.requests()["query"] <= asked + 2
            sim.set_speed(SPEED)
            wait_until(folder.receipts, "the video, after a callback", within=30)
    assert list(sim.billed().values()) == [1]


def test_the_page_shows_and_changes_nothing(folder: Project, sim: Simulator) -> None:
    """The page, its document and its health answer on loopback; a foreign name and a POST are refused."""
    port = free_port()
    folder.spec()
    url = f"http://127.0.0.1:{port}"
    with (
        httpx.Client(base_url=url, trust_env=False) as http,
        folder.watching("--http", f"127.0.0.1:{port}") as running,
    ):
        running.wait_for(f"status page {url}")
        wait_until(folder.receipts, "the video")
        wait_until(lambda: "dance.mp4" in http.get("/status.json").text, "the news on the page")
        assert http.get("/status.json").json() == folder.status().document
        assert "specs/dance.yaml" in http.get("/").text
        assert http.get("/healthz").json()["ok"] is True
        foreign = [
            http.get(path, headers={"Host": "evil.example"}) for path in ("/", "/status.json")
        ]
        assert {answer.status_code for answer in foreign} == {421}
        assert {http.post(path).status_code for path in ("/", "/status.json", "/healthz")} == {405}
        assert http.post("/callbacks", json={}).status_code == 404


def test_a_webhook_hears_of_results_failures_and_the_account(
    folder: Project, sim: Simulator
) -> None:
    """What completes, what fails and what pauses everybody reaches the service that the settings name."""
    folder.spec("good.yaml")
    folder.spec("bad.yaml", prompt=FAILS)
    with webhook() as hook:
        with folder.watching(env={"RECONCILER_NOTIFY_URLS": hook.url("hook")}) as running:
            wait_until(lambda: folder.receipts().get("specs/good.receipt.json"), "the video")
            running.wait_for("too dark")
            sim.faults([{"endpoint": "create", "effect": {"refuse": 1102}}])
            folder.spec("late.yaml", prompt="late")
            running.wait_for("paused for the whole account")
            running.process.terminate()  # what was gathered goes out at the end
            assert running.ended(within=10).code == 0
        told = "\n".join(f"{one['title']}: {one['message']}" for one in hook.came)
    for word in ("specs/good.yaml", "is complete", "too dark", "paused for the whole account"):
        assert word in told, told
    assert len(hook.came) <= 4, told
