"""Records and changes for the store's tests, small by default; Hypothesis' versions of the same."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path

from alembic.command import upgrade
from alembic.config import Config
from hypothesis import strategies as st
from sqlalchemy import create_engine

from reconciler.core.identity import attempt_id
from reconciler.core.states import PREVIEWS, Record, Result, Role, Status
from reconciler.store.values import Caps, Change, HistoryEntry

STORED = [status for status in Status if status not in (Status.INVALID, Status.BLOCKED)]
_NOBODY = 65534
_BOUGHT = (
    "INSERT INTO task VALUES ('mc1-a', 'mc1-a', 1, 'complete', '{}', 'specs/a.yaml', '', '8001', '', '2.5', "
    "'2.5', 1, 1, 0, NULL, 0, '', 1, 2, 'run')",
    f"INSERT INTO result VALUES ('mc1-a', 'video', '{'a' * 64}', 10, 5.0)",
    "INSERT INTO event VALUES (1, 'mc1-a', 1, 'bought', '', ''), (2, 'mc1-a', 2, 'saved', '', '')",
    f"INSERT INTO publication VALUES ('specs/a.mp4', 'mc1-a', 'video', '{'a' * 64}', 10, 1, '1')",
    "INSERT INTO hold VALUES ('mc1-b', 'a cap', 1)",
)
NO_CAPS = Caps()
DAY = 1_699_920_000_000  # ms: when the tests' day starts


def record(base_id: str = "mc1-a", attempt: int = 1, **changes: object) -> Record:
    """Return an attempt that is about to be sent."""
    return Record(
        external_task_id=attempt_id(base_id, attempt),
        base_id=base_id,
        attempt=attempt,
        status=Status.SUBMITTING,
        request='{"kind":"motion-control"}',
        estimated_units=Decimal("2.5"),
        intent_at=DAY + 1,
    ).evolve(**changes)


def fresh(new: Record) -> Change:
    """Return the change that records an attempt for the first time, with a line of history."""
    return Change(new, None, (HistoryEntry(new.external_task_id, DAY, "recorded"),))


def first_version(path: Path) -> None:
    """Make a database as the first published version did, with one generation that was bought."""
    path.parent.mkdir(parents=True, exist_ok=True)
    config = Config()
    config.set_main_option("script_location", "reconciler.store:migrations")
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        connection.exec_driver_sql("PRAGMA journal_mode = WAL")
        config.attributes["connection"] = connection
        upgrade(config, "0001")
        for statement in _BOUGHT:
            connection.exec_driver_sql(statement)
    engine.dispose()


@contextmanager
def plain_user(folder: Path) -> Iterator[None]:
    """Go on as a user for whom permissions hold, as the owner of the folder: root would pass them all."""
    was = os.geteuid()
    if was == 0:
        for path in (folder, *folder.rglob("*")):
            os.chown(path, _NOBODY, _NOBODY)
        os.seteuid(_NOBODY)
    try:
        yield
    finally:
        os.seteuid(was)


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
ids = st.text("abcdefghijklmnop0123456789._-", min_size=1, max_size=64)
times = st.none() | st.integers(1_577_836_800_000, 4_102_444_799_999)
units = st.decimals(0, 10**12, allow_nan=False, allow_infinity=False)
digests = st.text("0123456789abcdef", min_size=64, max_size=64)


@st.composite
def result_lists(draw: st.DrawFn, roles: Sequence[Role]) -> tuple[Result, ...]:
    """Results in the store's order, at most one of each of these roles."""
    chosen = draw(st.sets(st.sampled_from(roles)))
    duration = st.none() | st.floats(0, 1000, allow_nan=False)
    side = st.none() | st.integers(0, 2**31 - 1)
    return tuple(
        Result(
            role,
            draw(digests),
            draw(st.integers(0, 2**63 - 1)),
            draw(duration),
            draw(side),
            draw(side),
        )
        for role in roles
        if role in chosen
    )


records = st.builds(
    Record,
    external_task_id=ids,
    base_id=ids,
    attempt=st.integers(1, 10_000),
    status=st.sampled_from(STORED),
    request=texts,
    spec=texts,
    label=texts,
    task_id=st.none() | texts,
    reason=texts,
    estimated_units=units,
    units=st.none() | units,
    intent_at=times,
    calendar_at=times,
    creates=st.integers(0, 1000),
    doubtful=st.booleans(),
    gave_up_at=times,
    absent_looks=st.integers(0, 1000),
    refusal=texts,
    in_use=st.booleans(),
    created_at=times,
    finished_at=times,
    results=result_lists((Role.VIDEO, Role.WATERMARK)),
    previews=result_lists(PREVIEWS),
)
