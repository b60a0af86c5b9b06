"""Media stores as people meet them: settings, `plan`, `apply`, `show` and `doctor` over a real S3 server."""

from __future__ import annotations

import hashlib
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hosting.publishing import PATIENT, Reader, Shoot, assert_nothing_leaked, film, reader
from tests.support.bucket import ACCESS_KEY, SECRET_KEY, Bucket, bucket
from tests.support.project import Project, picture, sha256, wait_until
from tests.support.simulator import Simulator, simulator

MEDIA = Path(__file__).parents[1] / "media" / "bigbuckbunny.mp4"
REAL = {
    "KLING_BASE_URL": "https://api-singapore.klingai.com",
    "KLING_API_KEY": "static",
    "KLING_ACCESS_KEY": None,
    "KLING_SECRET_KEY": None,
}
NO_CLOUD = {
    **dict.fromkeys(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION")),
    "AWS_ENDPOINT_URL": None,
}


@pytest.fixture(scope="module")
def store() -> Iterator[Bucket]:
    with bucket() as running:
        yield running


@pytest.fixture
def sim() -> Iterator[Simulator]:
    with simulator(render="stamp") as running:
        yield running


@pytest.fixture
def seen(sim: Simulator) -> Iterator[Reader]:
    with reader(sim.base_url) as reading:
        yield reading


@pytest.fixture
def project(tmp_path: Path, sim: Simulator, store: Bucket, seen: Reader) -> Project:
    """A project with a local video and a local image, and a bucket of its own prefix."""
    env = {**sim.env(), **store.env(tmp_path.name), "KLING_BASE_URL": seen.url, **PATIENT}
    project = Project(tmp_path / "project", env)
    shutil.copy(MEDIA, project.specs / "dance.in.mp4")
    picture(project.specs / "girl.png")
    project.spec(video_url="dance.in.mp4", image_url="girl.png")
    return project


def held(store: Bucket, project: Project) -> dict[str, bytes]:
    """Return what lies in this project's part of the bucket."""
    prefix = project.env["RECONCILER_MEDIA_STORE"].rpartition("/")[2]
    return {
        key.removeprefix(f"{prefix}/"): data
        for key, data in store.objects().items()
        if key.startswith(f"{prefix}/")
    }


def test_the_keys_of_the_store_may_stand_in_env_file(
    project: Project, store: Bucket, seen: Reader
) -> None:
    """Everything about the store in `.env`, nothing in the environment: published, bought, and no secret is kept."""
    names = [name for name in project.env if name.startswith(("AWS_", "RECONCILER_MEDIA"))]
    project.write(".env", "".join(f"{name}={project.env[name]}\n" for name in names))
    digest = sha256(project.specs / "dance.in.mp4")
    done = project.apply(env=dict.fromkeys(names))
    assert done.code == 0, str(done)
    assert held(store, project).keys() == {f"{digest}.mp4"}
    assert [what for _, what in seen.read] == [digest]
    project.run("show", "specs/dance.yaml", "--json", env=dict.fromkeys(names))
    (project.root / ".env").unlink()
    assert_nothing_leaked(Shoot(project, [digest], ""), seen)


def test_images_are_uploaded_where_that_is_wanted(
    project: Project, store: Bucket, seen: Reader, sim: Simulator
) -> None:
    """RECONCILER_MEDIA_IMAGES sends the image by URL too; the identity is the same, so nothing is bought again."""
    image = sha256(project.specs / "girl.png")
    assert project.apply(env={"RECONCILER_MEDIA_IMAGES": "true"}).code == 0
    assert hashlib.sha256(held(store, project)[f"{image}.png"]).hexdigest() == image
    assert project.apply().code == 0
    assert list(sim.billed().values()) == [1]


def test_a_store_that_is_down_blocks_what_needs_it_and_nothing_else(
    project: Project, store: Bucket, sim: Simulator
) -> None:
    """Exit 3, a sentence, the other spec bought; the next apply, with the store well again, finishes."""
    project.spec("other.yaml", prompt="another")
    done = project.apply(env={"AWS_ENDPOINT_URL": "http://127.0.0.1:9"})
    assert done.code == 3, str(done)
    assert done.document["summary"] == {"blocked": 1, "complete": 1}
    (reason,) = [row["reason"] for row in done.document["generations"] if row["reason"]]
    assert "cannot be reached" in reason
    assert "account" not in done.err
    assert project.apply().code == 0
    assert list(sim.billed().values()) == [1, 1]


def test_watch_goes_on_when_the_store_is_well_again(project: Project, store: Bucket) -> None:
    """The bucket refuses, the generation is blocked; a touch of the spec after the refusal ends is enough."""
    store.refusal = (403, "AccessDenied")
    with project.watching(env={"RECONCILER_SETTLE_SECONDS": "0.1"}) as running:
        running.wait_for("refuses access")
        store.refusal = None
        spec = project.specs / "dance.yaml"
        spec.write_text(spec.read_text() + "# again\n")
        wait_until((project.specs / "dance.mp4").exists, "the video")
    assert len(held(store, project)) == 1


def test_without_a_store_the_sentence_names_the_setting(project: Project) -> None:
    """With the real API and no store, `plan` says what to set; with one, it is an ordinary purchase."""
    without = {**REAL, **NO_CLOUD, "RECONCILER_MEDIA_STORE": None}
    (action,) = project.run("plan", "--json", env=without).document["actions"]
    assert action["action"] == "blocked"
    assert "RECONCILER_MEDIA_STORE" in action["reason"]
    (action,) = project.run("plan", "--json", env=REAL).document["actions"]
    assert action["action"] == "submit"


WRONG = [
    ({"RECONCILER_MEDIA_STORE": "videos"}, "RECONCILER_MEDIA_STORE", "no place"),
    ({"RECONCILER_MEDIA_STORE": "s3://a:hush@b/"}, "cloud's own variables", "keys in it"),
    ({"RECONCILER_MEDIA_STORE": "file:///tmp"}, "RECONCILER_MEDIA_PUBLIC_URL", "nobody serves it"),
    ({"RECONCILER_MEDIA_PUBLIC_URL": "cdn"}, "RECONCILER_MEDIA_PUBLIC_URL", "no URL"),
    ({"RECONCILER_MEDIA_URL_SECONDS": "604801"}, "RECONCILER_MEDIA_URL_SECONDS", "too long"),
    (
        {**REAL, "RECONCILER_MEDIA_STORE": None, "RECONCILER_MEDIA_IMAGES": "true"},
        "RECONCILER_MEDIA_IMAGES",
        "nowhere to put them",
    ),
]


@pytest.mark.parametrize(("env", "named", "reason"), WRONG)
def test_a_wrong_setting_is_a_sentence(
    project: Project, env: dict[str, str | None], named: str, reason: str
) -> None:
    """It names the setting, shows no secret, and nothing is done."""
    done = project.run("plan", env=env)
    assert done.code == 1, reason
    assert named in done.err
    assert "hush" not in done.err + done.out


def test_doctor_tries_the_store(project: Project, store: Bucket) -> None:
    """It says how files are addressed and which keys count, leaves nothing, and names what is wrong."""
    done = project.run("doctor", "--json")
    checks = {check["name"]: check for check in done.document["checks"]}
    assert checks["media"]["ok"], str(done)
    assert "AWS_ACCESS_KEY_ID from the environment" in checks["media"]["message"]
    assert "signed for 24 h" in checks["media"]["message"]
    assert held(store, project) == {}
    broken = project.run("doctor", "--json", env={"RECONCILER_MEDIA_STORE": "s3://nobodys"})
    (check,) = [item for item in broken.document["checks"] if item["name"] == "media"]
    assert (broken.code, check["ok"]) == (1, False)
    assert "s3://nobodys is not there" in check["message"]
    far = project.run("doctor", "--json", env=REAL | {"KLING_API_KEY": None})
    (check,) = [item for item in far.document["checks"] if item["name"] == "media"]
    assert "the provider cannot reach 127.0.0.1" in check["message"]
    said = "".join(project.said)
    assert SECRET_KEY not in said
    assert ACCESS_KEY not in said


def test_the_simulator_needs_no_setting(project: Project, store: Bucket, seen: Reader) -> None:
    """Without a store, the simulator's own takes the video."""
    done = project.apply(env={**NO_CLOUD, "RECONCILER_MEDIA_STORE": None})
    assert done.code == 0, str(done)
    assert "/media/" in seen.urls[0]
    assert held(store, project) == {}


def test_a_run_that_hosts_nothing_does_not_load_the_library(project: Project) -> None:
    """`plan`, and an apply with nothing to do, start as quickly as without a media store."""
    project.apply()
    code = (
        "import sys; from reconciler.cli.main import run; "
        "codes = [run(['--root', sys.argv[1], *words.split()]) for words in sys.argv[2:]]; "
        "sys.exit(any(codes) or ('obstore' in sys.modules) * 9)"
    )
    words = ["plan", "apply --yes", "status"]
    done = project.run(command=[sys.executable, "-c", code, str(project.root), *words])
    assert done.code == 0, str(done)


def test_a_stop_during_an_upload_leaves_in_seconds(
    project: Project, store: Bucket, sim: Simulator
) -> None:
    """SIGTERM while a slow store takes a video: 130 within seconds, nothing sent; the next apply finishes."""
    film(project.specs / "dance.in.mp4", 0)  # larger than what the system takes off our hands
    begun = len(store.uploads())
    store.delay = 30.0
    with project.running("apply", "--yes") as running:
        wait_until(lambda: len(store.uploads()) > begun, "an upload")
        asked = time.monotonic()
        running.interrupt(signal.SIGTERM)
        assert running.ended().code == 130
    store.delay = 0.0
    assert time.monotonic() - asked < 10
    assert sim.billed() == {}
    assert project.apply().code == 0
    assert list(sim.billed().values()) == [1]
