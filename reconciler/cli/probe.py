"""`validate --probe`: asking for the media at URLs."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Collection
from contextlib import aclosing

from reconciler.cli.project import Folder
from reconciler.cli.provider import allowed_networks
from reconciler.core.documents import Problem
from reconciler.core.media_rules import Medium
from reconciler.kling.samples import ProbeFailed, Prober, Sample
from reconciler.settings.definitions import Settings
from reconciler.workspace.read.remote import next_part, remote_faults, remote_media

_Asked = tuple[Medium, str]  # the medium, and its URL


def probed(folder: Folder, specs: Collection[str]) -> dict[str, tuple[Problem, ...]]:
    """Ask for each URL in these specs once; return the problems found, by spec."""
    settings = folder.settings
    remotes = remote_media(folder.root, settings.specs_dir, specs, settings.prices)
    answers = asyncio.run(_ask_each(settings, {(one.wanted.medium, one.url) for one in remotes}))
    found: defaultdict[str, tuple[Problem, ...]] = defaultdict(tuple)
    for remote in remotes:
        answer = answers[remote.wanted.medium, remote.url]
        if isinstance(answer, ProbeFailed):
            sentences = [answer.message]
        else:
            sentences = remote_faults(remote, answer.size, answer.content_type, answer.parts)
        if sentences:
            found[remote.spec] += tuple(map(remote.problem, sentences))
    return found


async def _ask_each(
    settings: Settings, urls: Collection[_Asked]
) -> dict[_Asked, Sample | ProbeFailed]:
    prober = Prober(timeout=settings.request_timeout, allowed=allowed_networks(settings))

    async def sample(medium: Medium, url: str) -> Sample | ProbeFailed:
        try:
            return await prober.sample(url, lambda seen: next_part(medium, seen.size, seen.parts))
        except ProbeFailed as failure:
            return failure

    async with aclosing(prober):
        answers = await asyncio.gather(*(sample(*asked) for asked in urls))
    return dict(zip(urls, answers, strict=True))
