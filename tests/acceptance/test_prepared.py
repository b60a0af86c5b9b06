"""`prepare: true` as people meet it: a phone's clip goes from refused to bought, once, whatever happens meanwhile."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from reconciler.workspace.media.films import probe_video
from reconciler.workspace.media.images import probe_image
from reconciler.workspace.media.preparing import LONGEST
from tests.simulator.caller import calling, order
from tests.support.money import assert_bought_once, assert_quiet
from tests.support.project import Project, picture, sha256, wait_until
from tests.support.simulator import Simulator
from tests.workspace.builders import corners, make_clip, make_moving
from tests.workspace.spoiled import BUNNY, announcing, with_noise

ADVICE = "`prepare: true` transcodes it to H.264 and turns the picture itself"


def portrait(project: Project, **options: Any) -> Path:
    """Put a clip beside the specs as a phone makes it: HEVC, stored lying, to be turned clockwise."""
    return make_clip(
        project.specs / "dance.mov", codec="libx265", rotation=-90, sound=True, **options
    )


def hosted(sim: Simulator) -> list[Path]:
    """Return the videos that the provider could read."""
    return sorted((sim.config.folder / "media").glob("*.m[po][4v]"))


def preparing(project: Project) -> list[int]:
    """Return the processes that prepare a file of this project."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"reconciler.workspace.media.decoding" in words and str(LONGEST).encode() in words:
            with suppress(OSError):
                opened = [str(one.readlink()) for one in (folder / "fd").iterdir()]
                if any(one.startswith(f"{project.root}/") for one in opened):
                    found.append(int(folder.name))
    return found


def test_a_portrait_of_a_phone_goes_from_1201_to_an_upright_result(
    project: Project, sim: Simulator
) -> None:
    """The API refuses the clip; `validate` says so and what would help; with it, what the API reads stands upright."""
    clip = portrait(project)
    with calling(sim) as provider:
        refused = provider.create(order("raw", video_url=sim.upload(clip)))
    assert (refused.status_code, refused.json()["code"]) == (400, 1201)
    assert "Video format is invalid" in refused.json()["message"]
    for path in hosted(sim):
        path.unlink()

    project.spec(video_url="dance.mov")
    checked = project.run("validate", "--json")
    (error,) = checked.document["errors"]
    assert (error["file"], error["line"], error["key"]) == ("specs/dance.yaml", 2, "video_url")
    assert ADVICE in error["message"]
    assert project.apply().code == 3
    assert sim.billed() == {}
    assert hosted(sim) == []

    project.spec(video_url="dance.mov", prepare=True)
    done = project.apply()
    assert_bought_once(project, sim, done)
    (sent,) = hosted(sim)
    facts = probe_video(sent)
    assert (facts.codec, facts.rotation, facts.width, facts.height) == ("h264", 0, 360, 640)
    assert corners(sent) == {"top right"}
    assert_quiet(project, sim)


def test_what_the_web_has_is_bought_with_leave_and_said_without(
    project: Project, sim: Simulator
) -> None:
    """A GIF and a WebM: neither is sent without `prepare`, whose help is told; with it a JPEG and an MP4 are, once."""
    make_moving(project.specs / "girl.gif")
    make_clip(project.specs / "dance.webm", codec="libvpx-vp9", container="webm", seconds=3)
    project.spec(image_url="girl.gif", video_url="dance.webm")
    (error,) = project.run("validate", "--json").document["errors"]
    assert "`prepare: true` makes a JPEG of its first frame" in error["message"]
    assert project.apply().code == 3
    project.spec(image_url="girl.gif", video_url="dance.webm", prepare=True)
    done = project.apply()
    assert_bought_once(project, sim, done)
    assert "preparing `specs/girl.gif`, its first frame" in done.err
    (sent,) = hosted(sim)
    assert (probe_video(sent).format, probe_video(sent).codec) == ("MP4", "h264")
    assert_quiet(project, sim)


def test_the_identity_is_that_of_the_source_and_the_receipt_says_so(
    project: Project, sim: Simulator
) -> None:
    """Without the state, and with an encoder that makes other bytes, nothing is bought or prepared again."""
    clip = portrait(project)
    project.spec(video_url="dance.mov", prepare=True, trim={"end": 3.5})
    assert_bought_once(project, sim, project.apply())
    (entry,) = project.receipts()["specs/dance.receipt.json"]
    assert entry["request"]["video_url"] == {"sha256": sha256(clip), "trim": {"end": "3.5"}}
    (sent,) = hosted(sim)
    sent.write_bytes(b"what another encoder made")
    project.lose("state")
    again = project.apply()
    assert again.code == 0
    assert "preparing" not in again.err
    assert set(again.statuses.values()) == {"complete"}
    assert list(sim.billed().values()) == [1]
    assert_quiet(project, sim)


def test_what_is_prepared_is_kept_and_used_again(project: Project, sim: Simulator) -> None:
    """Ten wishes for one clip, and another day: it is transcoded once, and uploaded once."""
    portrait(project)
    project.write("specs/_defaults.yaml", "prepare: true\n")
    project.spec(video_url="dance.mov", takes=5)
    project.spec("other.yaml", video_url="dance.mov", prompt="another")
    first = project.apply()
    assert_bought_once(project, sim, first)
    assert first.err.count("preparing `specs/dance.mov`") == 1
    project.spec("later.yaml", video_url="dance.mov", prompt="later")
    second = project.apply()
    assert_bought_once(project, sim, second)
    assert "preparing" not in second.err
    assert len(hosted(sim)) == 1
    objects = list((project.state / "objects").glob("??/*"))
    sent = hosted(sim)[0].stem
    assert sent in {path.parent.name + path.name for path in objects}


def test_a_prepared_object_that_is_damaged_or_gone_is_made_anew(
    project: Project, sim: Simulator
) -> None:
    """Its bytes are compared before they are sent; losing them costs time only."""
    portrait(project)
    for number, spoil in enumerate((lambda path: path.write_bytes(b""), Path.unlink, None)):
        project.spec(f"s{number}.yaml", video_url="dance.mov", prepare=True, prompt=str(number))
        done = project.apply()
        assert_bought_once(project, sim, done)
        assert done.err.count("preparing") == 1, number
        name = hosted(sim)[0].stem
        made = project.state / "objects" / name[:2] / name[2:]
        if spoil:
            made.chmod(0o644)
            spoil(made)
    assert len(hosted(sim)) == 1


def test_a_plan_knows_the_price_of_what_will_be_sent(project: Project) -> None:
    """A film of a minute is cut to the limit, or to the part that is asked for: the estimate is for that."""
    make_clip(project.specs / "long.mp4", seconds=60, rate=5)
    project.spec("a.yaml", video_url="long.mp4", prepare=True)
    project.spec("b.yaml", video_url="long.mp4", prepare=True, trim={"start": 20, "end": 24})
    for _ in range(2):  # the second time from the cache
        plan = project.run("plan", "--json").document
        assert [action["estimated_units"] for action in plan["actions"]] == ["5", "2"]
    project.spec("c.yaml", video_url="long.mp4", prepare=True, trim={"start": 50, "end": 61})
    errors = project.run("validate", "--json").document["errors"]
    assert [(error["key"], error["file"]) for error in errors] == [("trim", "specs/c.yaml")]


@pytest.mark.parametrize(
    ("codec", "prepare", "reason"),
    [("mpeg4", True, "the part that is made"), ("libx264", False, "the film as it is")],
)
def test_a_film_that_says_it_is_short_passes_no_cap(
    project: Project, sim: Simulator, codec: str, prepare: bool, reason: str
) -> None:
    """Its header says 3 s, its frames last 20: what is billed is what was counted, and never more than the cap."""
    film = make_clip(project.specs / "dance.mp4", codec=codec, seconds=20, rate=10)
    film.write_bytes(announcing(film.read_bytes(), 3))
    wish = {"mode": "pro", "model_name": "kling-v3", "character_orientation": "video"}
    project.spec(video_url="dance.mp4", prepare=prepare, takes=3, **wish)
    done = project.apply(env={"RECONCILER_MAX_UNITS_PER_DAY": "25"})
    units = [Decimal(entry["units"]) for entry in sim.ledger()["entries"]]
    assert units == [Decimal(24)], reason
    assert done.code == 3, done


def test_a_heavy_image_is_made_light_enough(project: Project, sim: Simulator) -> None:
    """More than ten megabytes of PNG become a JPEG that the API takes; the wish is for the original."""
    big = picture(project.specs / "girl.png")
    with big.open("ab") as file:
        file.truncate(11 * 1024 * 1024)
    project.spec(image_url="girl.png")
    refused = project.run("validate", "--json").document["errors"]
    assert "`prepare: true` compresses it" in refused[0]["message"]
    project.spec(image_url="girl.png", prepare=True)
    assert_bought_once(project, sim, project.apply())
    (entry,) = project.receipts()["specs/dance.receipt.json"]
    assert entry["request"]["image_url"] == {"sha256": sha256(big)}
    (sent,) = (sim.config.folder / "media").glob("*.jpg")
    assert probe_image(sent).width == 320
    assert_quiet(project, sim)


def slowly(project: Project) -> None:
    """Ask for a film that takes an encoder a while."""
    make_clip(project.specs / "motion.mp4", size=(640, 360), seconds=12, rate=10, noisy=True)
    project.spec(video_url="motion.mp4", prepare=True)


def test_a_kill_while_a_file_is_prepared_costs_nothing(project: Project, sim: Simulator) -> None:
    """SIGKILL twice, each time the encoder ends too: then one purchase, and no rubbish."""
    slowly(project)
    for _ in range(2):
        with project.running("apply", "--yes", "--json") as running:
            wait_until(lambda: preparing(project), "the encoder")
            running.process.kill()
            running.ended(10)
        wait_until(lambda: not preparing(project), "the end of the encoder")
    assert_bought_once(project, sim, project.apply())
    assert not list((project.state / "objects").rglob("*.part"))
    (sent,) = hosted(sim)
    assert str(probe_video(sent).seconds) == "10.000"
    assert_quiet(project, sim)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_a_stop_while_a_file_is_prepared_is_a_stop(
    project: Project, sim: Simulator, number: signal.Signals
) -> None:
    """It leaves in seconds, and the encoder with it; nothing was sent."""
    slowly(project)
    with project.running("apply", "--yes", "--json") as running:
        wait_until(lambda: preparing(project), "the encoder")
        began = time.monotonic()
        running.interrupt(number)
        done = running.ended(20)
    assert done.code == 130, done
    assert time.monotonic() - began < 6
    wait_until(lambda: not preparing(project), "the end of the encoder")
    assert sim.billed() == {}
    assert not list((project.state / "objects").rglob("*.part"))


def test_an_encoder_that_is_killed_holds_the_generation_and_nothing_else(
    project: Project, sim: Simulator
) -> None:
    """Another program, or the system for want of memory, ends it: said in a sentence, tried again by the next run."""
    slowly(project)
    project.spec("fine.yaml", prompt="fine")
    with project.running("apply", "--yes", "--json") as running:
        wait_until(lambda: preparing(project), "the encoder")
        for process in preparing(project):
            os.kill(process, signal.SIGKILL)
        done = running.ended(30)
    assert done.code == 3, done
    document = json.loads(done.out)
    states = {row["spec"]: (row["status"], row["reason"]) for row in document["generations"]}
    assert states["specs/fine.yaml"][0] == "complete"
    assert states["specs/dance.yaml"][0] == "blocked"
    assert "`specs/motion.mp4` cannot be prepared" in states["specs/dance.yaml"][1]
    assert_bought_once(project, sim, project.apply())


def test_the_encoder_gets_no_key(project: Project, sim: Simulator) -> None:
    """Its environment, as the system shows it, holds nothing that opens anything."""
    slowly(project)
    secret = sim.env()["KLING_SECRET_KEY"].encode()
    with project.running("apply", "--yes", "--json"):
        wait_until(lambda: preparing(project), "the encoder")
        (process,) = preparing(project)
        environ = Path(f"/proc/{process}/environ").read_bytes()
        words = Path(f"/proc/{process}/cmdline").read_bytes()
    assert secret not in environ + words
    assert b"KLING" not in environ


def damaged(path: Path) -> None:
    """A clip whose head is well and whose middle is noise."""
    clip = bytearray(make_clip(path, codec="libx265", rate=10, noisy=True).read_bytes())
    middle = len(clip) // 2
    clip[middle : middle + 20_000] = hashlib.shake_128(b"noise").digest(20_000)
    path.write_bytes(bytes(clip))


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (damaged, "what preflight does not decode"),
        (lambda path: path.write_bytes(with_noise(BUNNY)), "what it does"),
    ],
)
def test_a_clip_that_cannot_be_mended_is_never_sent(
    project: Project, sim: Simulator, make: Callable[[Path], object], reason: str
) -> None:
    """Either it is found wrong, or it is sent whole: half a film is not paid for."""
    make(project.specs / "motion.mp4")
    project.spec(video_url="motion.mp4", prepare=True)
    done = project.apply()
    assert "Traceback" not in done.err
    if done.code == 0:
        (sent,) = hosted(sim)
        assert str(probe_video(sent).seconds) == "4.000", reason
    else:
        assert done.code == 3, reason
        assert sim.billed() == {}
        assert hosted(sim) == []


def test_a_film_that_cannot_be_mended_is_tried_once_however_often_it_is_wanted(
    project: Project, sim: Simulator
) -> None:
    """It takes all cores, and the answer would be the same; each take is told, and the next run may try again."""
    damaged(project.specs / "motion.mp4")
    project.spec(video_url="motion.mp4", prepare=True, takes=4)
    for _ in range(2):
        done = project.apply()
        assert done.code == 3, done
        assert done.err.count("preparing `specs/motion.mp4`") == 1
        reasons = [row["reason"] for row in json.loads(done.out)["generations"]]
        assert len(reasons) == 4
        assert all("`specs/motion.mp4` is damaged" in reason for reason in reasons)
    assert sim.billed() == {}


def test_a_clip_that_is_replaced_while_it_is_prepared_is_not_sent(
    project: Project, sim: Simulator
) -> None:
    """What was looked at is what is sent, or nothing; the next run asks for what is there now."""
    slowly(project)
    with project.running("apply", "--yes", "--json") as running:
        wait_until(lambda: preparing(project), "the encoder")
        make_clip(project.specs / "motion.mp4", codec="libx265")
        done = running.ended(40)
    assert done.code == 3, done
    assert sim.billed() == {}
    assert hosted(sim) == []
    assert_bought_once(project, sim, project.apply())


def test_the_watch_prepares_and_goes_on_meanwhile(project: Project, sim: Simulator) -> None:
    """While one film is prepared another wish is bought; a stop in between is a stop."""
    project.env["RECONCILER_SETTLE_SECONDS"] = "0.1"
    with project.watching() as running:
        slowly(project)
        wait_until(lambda: preparing(project), "the encoder")
        project.spec("fine.yaml", prompt="fine")
        wait_until((project.specs / "fine.mp4").exists, "the other video")
        wait_until((project.specs / "dance.receipt.json").exists, "the prepared one", within=180)
        running.interrupt(signal.SIGTERM)
        assert running.ended(10).code == 0
    assert sorted(sim.billed().values()) == [1, 1]
    assert_quiet(project, sim)


def test_what_a_link_leads_to_may_be_replaced_meanwhile(project: Project, sim: Simulator) -> None:
    """The encoder reads the very file whose digest is the identity: another film is never sent in its name."""
    films = project.root / "films"
    wanted = make_clip(films / "wanted.mov", codec="libx265", rate=10, noisy=True)
    other = make_clip(films / "other.mov", codec="libx265", size=(360, 640))
    shutil.copy(wanted, films / "current.mov")
    (project.specs / "dance.mov").symlink_to("../films/current.mov")
    project.spec(video_url="dance.mov", prepare=True)
    with project.running("apply", "--yes", "--json") as run:
        wait_until(lambda: bool(preparing(project)), "the encoder is at work")
        shutil.copy(other, films / "next.mov")
        (films / "next.mov").replace(films / "current.mov")
        run.ended(60)
    shutil.copy(wanted, films / "current.mov")
    assert_bought_once(project, sim, project.apply())
    (sent,) = hosted(sim)
    assert (probe_video(sent).width, probe_video(sent).height) == (640, 360)


def test_a_note_that_cannot_be_kept_costs_time_only(project: Project, sim: Simulator) -> None:
    """The film that was made is sent; it is made again for another day's wish."""
    portrait(project)
    project.spec(video_url="dance.mov", prepare=True)
    project.write("state/objects/prepared", "in the way")
    assert_bought_once(project, sim, project.apply())
