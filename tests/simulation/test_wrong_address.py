"""What answers is not the API, or not where its routes are: the address is wrong, and no spec pays for that.

The whole engine in virtual time; what stands at the address answers the creates in the API's place.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

import httpx
import pytest

from reconciler.core.progress import Ended
from reconciler.core.states import Status
from tests.simulation.loop import run, running
from tests.simulation.test_not_asked_about import WELL, refusal, scene
from tests.simulation.world import START

ELSEWHERE: Mapping[str, httpx.Response] = {
    "1202": refusal(1202, 404),
    "another program's code": refusal(404, 404),
    "another program's JSON": httpx.Response(404, json={"detail": "Not Found"}),
    "a 404 page": httpx.Response(404, html="<html>not found</html>"),
    "a 405": httpx.Response(405),
    "a web site": httpx.Response(200, html="<!doctype html><html>welcome</html>"),
}


@pytest.mark.parametrize("how", ELSEWHERE)
def test_a_route_that_is_not_there_pauses_the_account_and_rejects_nothing(
    tmp_path: Path, how: str
) -> None:
    """One create finds out, once; the others are not sent, and the next run buys each once."""

    async def story() -> None:
        async with scene(tmp_path, duplicate_ids="bill_again") as it:
            it.write(*WELL)
            it.wall.rule = lambda method, _: ELSEWHERE[how] if method == "POST" else None
            assert await it.apply(limit=1) is Ended.SETTLED
            assert set(it.statuses.values()) <= {Status.PENDING}
            said = [line for line in it.told.said if "paused" in line]
            assert len(said) == 1
            assert "KLING_BASE_URL" in said[0]
            assert sum(method == "POST" for _, method, _ in it.wall.asked) == 1
            it.wall.rule = lambda _, __: None
            assert await it.apply(limit=4) is Ended.SETTLED
            assert it.billed == sorted(WELL)
            assert set(it.statuses.values()) == {Status.COMPLETE}

    run(story(), start=START)


def test_watch_goes_on_by_itself_once_the_route_is_there(tmp_path: Path) -> None:
    """A gateway that lost its route for an hour: few creates are tried, nothing is rejected, all is bought once."""

    async def story() -> None:
        async with scene(tmp_path, task_s=20, duplicate_ids="bill_again") as it:
            it.write(*WELL)
            began = running().time()
            it.wall.rule = lambda method, _: (
                ELSEWHERE["a 404 page"]
                if method == "POST" and running().time() - began < 3600
                else None
            )
            async with it.watching():
                await asyncio.sleep(3600)
                assert it.billed == []
                assert Status.REJECTED not in it.statuses.values()
                tried = sum(method == "POST" for _, method, _ in it.wall.asked)
                assert tried <= 3 * len(WELL)
                await asyncio.sleep(8 * 3600)
            assert it.billed == sorted(WELL)

    run(story(), start=START)


def test_a_question_for_which_there_is_no_route_is_nobodys_own_trouble(tmp_path: Path) -> None:
    """Every look is answered 1202: nothing is sent, nobody is called one that cannot be asked about."""

    async def story() -> None:
        async with scene(tmp_path) as it:
            it.write(*WELL)
            it.wall.rule = lambda _, __: refusal(1202, 404)
            assert await it.apply() is Ended.SETTLED
            assert {method for _, method, _ in it.wall.asked} == {"GET"}
            assert all("KLING_BASE_URL" in reason for reason in it.told.holds.values())
            assert set(it.told.holds) == set(WELL)

    run(story(), start=START)
