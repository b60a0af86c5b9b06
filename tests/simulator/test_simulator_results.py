"""Results are served from another origin, behind addresses that are signed, expire and must not see a token."""

from __future__ import annotations

import hashlib

import pytest

from tests.simulator.caller import Caller, calling, order
from tests.support.simulator import Simulator, simulator


@pytest.fixture
def url(api: Caller) -> str:
    """The address of a finished film."""
    api.create(order("one"))
    return api.film_url("one")


def test_a_film_can_be_had_whole_and_in_part(sim: Simulator, url: str) -> None:
    """Length, strong ETag, ranges, and a HEAD that says the same."""
    whole = sim.control.get(url)
    assert url.startswith(sim.results_url)
    assert sim.results_url != sim.base_url
    etag = f'"{hashlib.md5(whole.content).hexdigest()}"'
    for answer in (whole, sim.control.head(url)):
        assert (answer.status_code, answer.headers["etag"]) == (200, etag)
        assert answer.headers["content-length"] == str(len(whole.content))
        assert (answer.headers["accept-ranges"], answer.headers["content-type"]) == (
            "bytes",
            "video/mp4",
        )
    part = sim.control.get(url, headers={"range": "bytes=100-"})
    assert part.status_code == 206
    assert (
        part.headers["content-range"] == f"bytes 100-{len(whole.content) - 1}/{len(whole.content)}"
    )
    assert part.content == whole.content[100:]
    assert sim.control.get(url, headers={"range": "bytes=999999999-"}).status_code == 416


def test_a_range_holds_for_the_same_bytes_only(sim: Simulator, url: str) -> None:
    """`If-Range` with another ETag gets everything."""
    etag = sim.control.head(url).headers["etag"]
    same = sim.control.get(url, headers={"range": "bytes=0-9", "if-range": etag})
    other = sim.control.get(url, headers={"range": "bytes=0-9", "if-range": '"other"'})
    assert (same.status_code, other.status_code) == (206, 200)


def test_an_address_expires_and_is_given_anew() -> None:
    """After its time 403; a query gives one that works."""
    with simulator(url_lifetime_s=600, speed=0) as sim, calling(sim) as api:
        api.create(order("one"))
        sim.advance(200)
        old = api.film_url("one")
        assert sim.control.get(old).status_code == 200
        sim.advance(600)
        assert sim.control.get(old).status_code == 403
        assert sim.control.get(api.film_url("one")).status_code == 200


def test_an_address_cannot_be_made_up(sim: Simulator, url: str) -> None:
    """Without its signature, with a later end or for another film it is 403."""
    bare, _, query = url.partition("?")
    expires = query.partition("&")[0]
    for forged in (
        bare,
        url.replace(expires, "expires=9999999999999"),
        url.replace(".mp4", ".watermark.mp4"),
        url[:-1] + ("0" if url[-1] != "0" else "1"),
        url.replace(expires, "expires=soon"),
    ):
        assert sim.control.get(forged).status_code == 403


def test_a_token_is_refused_and_counted(sim: Simulator, api: Caller, url: str) -> None:
    """Whoever sends the key to the storage is told so, whatever the address and the faults."""
    assert sim.requests()["authorization_leaks"] == 0
    assert api.http.get(url).status_code == 400
    sim.faults([{"endpoint": "result", "effect": {"status": 503}}])
    assert api.http.head(url).status_code == 400
    assert api.http.get(f"{sim.results_url}/media/x").status_code == 400
    assert sim.requests()["authorization_leaks"] == 3


def test_results_are_cleared_after_thirty_days() -> None:
    """The file is gone with its address; the task stays listed, and no query gives one that works (observed)."""
    with simulator(speed=0, cleared="dead_url") as sim, calling(sim) as api:
        api.create(order("one"))
        sim.advance(200)
        url = api.film_url("one")
        sim.advance(29.9 * 86400)
        assert sim.control.get(url).status_code == 200
        sim.advance(0.2 * 86400)
        assert sim.control.get(url).status_code == 403
        (listed,) = api.http.get("/v1/videos/motion-control").json()["data"]
        assert listed == api.query("one").json()["data"]
        (video,) = listed["task_result"]["videos"]
        assert sim.control.get(video["url"]).status_code == 403
        assert api.create(order("one")).json()["code"] == 1201


def test_a_cleared_task_can_be_forgotten() -> None:
    """Another way in which clearing may turn out: nobody knows it, and its id is used all the same."""
    with simulator(speed=0, cleared="unknown") as sim, calling(sim) as api:
        api.create(order("one"))
        sim.advance(31 * 86400)
        assert api.query("one").status_code == 400
        assert api.http.get("/v1/videos/motion-control").json()["data"] == []
        assert api.create(order("one")).json()["code"] == 1201


def test_a_cleared_task_can_be_remembered_without_its_file() -> None:
    """The other way in which clearing may turn out: the task is there, its address empty."""
    with simulator(speed=0, cleared="no_url") as sim, calling(sim) as api:
        api.create(order("one", watermark_info={"enabled": True}))
        sim.advance(31 * 86400)
        video = api.until_over("one")["task_result"]["videos"][0]
        assert (video["url"], video["watermark_url"], video["duration"]) == ("", "", "5")
