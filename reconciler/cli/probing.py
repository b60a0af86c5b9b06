"""`validate --probe`: the URLs of specs, each asked once, and what is found against them at the place that names it."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

from reconciler.cli.project import Folder
from reconciler.cli.provider import allowed_networks
from reconciler.core.documents import Problem
from reconciler.kling.probing import ProbeFailed, Prober, Sample
from reconciler.workspace.remote_media import Remote, next_part, remote_faults, remote_media

Asked = tuple[str, str]  # key of a spec, URL


def probed(folder: Folder, specs: Collection[str]) -> dict[str, tuple[Problem, ...]]:
    """Return the problems of media at URLs, by spec."""
    remotes = remote_media(folder.root, folder.settings.specs_dir, specs, folder.settings.prices)
    answers = asyncio.run(_ask(folder, list({(one.key, one.url): None for one in remotes})))
    found: dict[str, tuple[Problem, ...]] = {}
    for remote in remotes:
        if sentences := _sentences(remote, answers[remote.key, remote.url]):
            problems = (remote.problem(sentence) for sentence in sentences)
            found[remote.spec] = (*found.get(remote.spec, ()), *problems)
    return found


async def _ask(folder: Folder, urls: Collection[Asked]) -> dict[Asked, Sample | ProbeFailed]:
    settings = folder.settings
    prober = Prober(timeout=settings.request_timeout, allowed=allowed_networks(settings))
    try:
        answers = await asyncio.gather(*(_sample(prober, *asked) for asked in urls))
    finally:
        await prober.aclose()
    return dict(zip(urls, answers, strict=True))


async def _sample(prober: Prober, key: str, url: str) -> Sample | ProbeFailed:
    try:
        return await prober.sample(url, lambda seen: next_part(key, seen.size, seen.parts))
    except ProbeFailed as failure:
        return failure


def _sentences(remote: Remote, answer: Sample | ProbeFailed) -> list[str]:
    if isinstance(answer, ProbeFailed):
        return [answer.message]
    return remote_faults(remote, answer.size, answer.content_type, answer.parts)
