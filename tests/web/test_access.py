"""The token: without it nobody learns anything, with it everything is as on loopback; and what probes are told."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from tests.web.standing import Standing, row, visiting

TOKEN = "correct-horse-battery-staple"
REASONS = ("The cap of 5 units per day is reached.", "`state` cannot be written.")
PAGES = ("/", "/status.json", "/healthz", "/status.js", "/nothing")
WRONG = [
    {},
    {"authorization": "Bearer wrong"},
    {"authorization": f"Bearer {TOKEN}x"},
    {"authorization": f"Basic {TOKEN}"},
    {"authorization": TOKEN},
    {"cookie": f"reconciler={TOKEN}"},
    {"cookie": "=; reconciler-\xff;;"},
]


@pytest.mark.parametrize("headers", WRONG)
def test_without_the_token_nothing_is_shown(headers: dict[str, str]) -> None:
    """Every page is 401 for whoever has not shown the token, whether it exists or not."""
    source = Standing([row(1, "failed", spec="specs/private.yaml")], reasons=REASONS)

    async def run() -> None:
        async with visiting(source, page_token=TOKEN) as client:
            for path in PAGES:
                for accept in ("*/*", "text/html"):
                    sent = {**headers, "accept": accept}
                    answer = await client.get(path, headers=httpx.Headers(sent, encoding="latin-1"))
                    assert answer.status_code == 401, path
                    assert "private" not in answer.text
                    assert "cap" not in answer.text
                    assert TOKEN not in answer.text + str(answer.headers)
            assert source.asked == 0

    asyncio.run(run())


def test_a_program_shows_the_token_in_a_header() -> None:
    """`Authorization: Bearer` opens every page; the host is looked at all the same."""

    async def run() -> None:
        async with visiting(Standing(), page_token=TOKEN) as client:
            shown = {"authorization": f"Bearer {TOKEN}"}
            for path in PAGES[:-1]:
                assert (await client.get(path, headers=shown)).status_code == 200, path
            foreign = await client.get("/", headers={**shown, "host": "evil.example"})
            assert foreign.status_code == 421

    asyncio.run(run())


def test_a_browser_is_given_a_form_and_then_a_cookie() -> None:
    """The token goes into a body, never into an address; what the browser keeps is not the token."""

    async def run() -> None:
        async with visiting(Standing(), page_token=TOKEN) as client:
            form = await client.get("/", headers={"accept": "text/html"})
            assert 'action="/login"' in form.text
            assert "form-action 'self'" in form.headers["content-security-policy"]
            wrong = await client.post("/login", data={"token": "wrong"})
            assert (wrong.status_code, "set-cookie" in wrong.headers) == (401, False)
            huge = await client.post("/login", data={"token": "x" * 5000})
            assert huge.status_code == 413
            right = await client.post("/login", data={"token": TOKEN})
            assert (right.status_code, right.headers["location"]) == (303, "/")
            cookie = right.headers["set-cookie"].lower()
            assert "httponly" in cookie
            assert "samesite=strict" in cookie
            assert TOKEN not in cookie
            assert (await client.get("/")).status_code == 200  # the client keeps the cookie
            kept = dict(client.cookies)
        async with visiting(Standing(), page_token=f"{TOKEN}2") as client:  # it was changed
            assert (await client.get("/", headers=_cookie(kept))).status_code == 401

    asyncio.run(run())


def _cookie(kept: dict[str, str]) -> dict[str, str]:
    return {"cookie": "; ".join(f"{name}={value}" for name, value in kept.items())}


@pytest.mark.parametrize("token", ["", TOKEN])
@pytest.mark.parametrize("reasons", [(), REASONS])
def test_probes_need_no_token_and_learn_no_reason_without(
    token: str, reasons: tuple[str, ...]
) -> None:
    """`/livez` answers while the loop turns; `/readyz` says 200 or 503 to everybody, and why to who may read."""

    async def run() -> None:
        async with visiting(Standing(reasons=reasons), page_token=token) as client:
            assert (await client.get("/livez")).status_code == 200
            expected = 503 if reasons else 200
            for shown in ({}, {"authorization": f"Bearer {TOKEN}"}):
                told = list(reasons) if shown or not token else []
                text = await client.get("/readyz", headers=shown)
                head = "not ready" if reasons else "ready"
                assert (text.status_code, text.text) == (expected, "\n".join([head, *told, ""]))
                wanted = {**shown, "accept": "application/json"}
                document = await client.get("/readyz", headers=wanted)
                assert document.status_code == expected
                assert document.json() == {"ready": not reasons, "reasons": told}

    asyncio.run(run())


def test_callbacks_keep_their_own_way() -> None:
    """The provider knows no token: what it posts is a hint, and shows nothing."""
    hints: list[str] = []

    async def run() -> httpx.Response:
        async with visiting(Standing(), hints.append, page_token=TOKEN) as client:
            return await client.post("/callbacks", json={"task_id": "17"})

    assert (asyncio.run(run()).status_code, hints) == (204, ["17"])
