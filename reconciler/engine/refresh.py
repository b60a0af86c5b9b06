"""Asking the provider what it knows, without changing anything: for `plan --refresh`."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from reconciler.core.diff import next_attempt
from reconciler.core.generations import Generation
from reconciler.core.schedule import Rules
from reconciler.core.states import LIVE, Record, Status
from reconciler.core.transitions import Seen, step
from reconciler.engine.ports import Provider

_ASKED = LIVE | {Status.PENDING}


async def refreshed(
    provider: Provider, records: Mapping[str, Record], wishes: Sequence[Generation]
) -> dict[str, Record]:
    """Return the records as the provider's answers make them; a task that is found counts as known.

    Raises:
        ProviderError: an answer could not be read.
    """
    asked = {
        wish.external_task_id: next_attempt(wish, records.get(wish.external_task_id))
        for wish in wishes
    }

    async def ask(record: Record) -> Record | None:
        reply = await provider.query(record.task_id or record.external_task_id)
        return (
            None
            if reply.task is None
            else step(record, Seen(reply.task), rules=Rules(), now=0).record
        )

    open_ones = {base: record for base, record in asked.items() if record.status in _ASKED}
    found = await asyncio.gather(*(ask(record) for record in open_ones.values()))
    return {
        **records,
        **{
            base: record
            for base, record in zip(open_ones, found, strict=True)
            if record is not None
        },
    }
