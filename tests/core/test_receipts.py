"""When a receipt changes, and what it keeps."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from reconciler.core.receipt_entries import ReceiptEntry, ReceiptOutput, merge
from reconciler.core.states import Role, Status


def entry(name: str, *, current: bool = True, label: str = "") -> ReceiptEntry:
    return ReceiptEntry(
        external_task_id=name,
        task_id="867283741759111202",
        label=label,
        status=Status.COMPLETE,
        request={"mode": "pro"},
        outputs=(ReceiptOutput("dance.mp4", Role.VIDEO, "a" * 64, 5, 5.041),),
        units=Decimal("4.25"),
        created_at=1,
        finished_at=2,
        current=current,
    )


OLD, NEW = entry("mc1-old"), entry("mc1-new")


def test_a_receipt_stays_while_the_same_generations_are_current() -> None:
    """A receipt is no file that changes by itself: order and earlier purchases alone rewrite nothing."""
    assert merge([], []) is None
    assert merge([OLD, NEW], [NEW, OLD]) is None
    assert merge([NEW, entry("mc1-old", current=False)], [NEW], also=[entry("mc1-other")]) is None


def test_a_changed_prompt_keeps_what_was_bought_before_and_marks_it() -> None:
    """What was paid for stays in the receipt after the spec asks for something else."""
    assert merge([OLD], [NEW]) == (NEW, replace(OLD, current=False))


def test_checking_out_the_old_commit_dirties_nothing_and_going_forward_again_neither() -> None:
    """Going back and forth in git's history leaves both receipts as they were committed."""
    committed_before, committed_after = (OLD,), merge([OLD], [NEW])
    assert committed_after is not None
    assert merge(committed_before, [OLD], also=[NEW]) is None
    assert merge(committed_after, [NEW], also=[OLD]) is None


def test_reverting_by_hand_makes_the_old_purchase_current_again() -> None:
    """Writing the old prompt again takes the old purchase, and keeps the newer one listed."""
    changed = merge([OLD], [NEW])
    assert changed is not None
    assert merge(changed, [OLD]) == (replace(NEW, current=False), OLD)


def test_other_purchases_are_listed_only_when_the_file_changes_anyway() -> None:
    """Purchases that the receipt does not know are added on the next change and cause none."""
    other = entry("mc1-other")
    assert merge([OLD], [NEW], also=[other, NEW]) == (
        NEW,
        replace(OLD, current=False),
        replace(other, current=False),
    )


def test_what_a_receipt_says_of_the_past_is_not_rewritten() -> None:
    """A past entry keeps its price and details, whatever the store says of it today."""
    otherwise = replace(OLD, units=Decimal(99))
    assert merge([OLD], [NEW], also=[otherwise]) == (NEW, replace(OLD, current=False))


def test_a_detail_of_a_current_generation_that_changed_is_a_change() -> None:
    """A corrected price of what is current reaches the receipt."""
    corrected = replace(OLD, units=Decimal(5))
    assert merge([OLD], [corrected]) == (corrected,)


def test_entries_are_sorted_by_label_and_then_id() -> None:
    """The order of a receipt depends on its content alone, so that git shows small differences."""
    entries = [entry("b", label="2"), entry("a", label="2"), entry("c", label="1")]
    merged = merge([], entries)
    assert merged is not None
    assert [(one.label, one.external_task_id) for one in merged] == [
        ("1", "c"),
        ("2", "a"),
        ("2", "b"),
    ]


def test_an_entry_knows_the_generation_behind_its_attempt() -> None:
    """A retry's entry counts as a purchase of the generation that it retried."""
    assert entry("mc1-abc-r3").base_id == entry("mc1-abc").base_id == "mc1-abc"


ENTRIES = st.lists(
    st.builds(entry, st.sampled_from("abcdef"), current=st.booleans()),
    unique_by=lambda one: one.external_task_id,
)


@given(ENTRIES, ENTRIES, ENTRIES)
def test_merging_loses_nothing_and_merging_again_changes_nothing(
    existing: list[ReceiptEntry], wanted: list[ReceiptEntry], also: list[ReceiptEntry]
) -> None:
    """No merge drops a purchase, exactly what is wanted is current, and a second merge is idle."""
    current = [replace(one, current=True) for one in wanted]
    merged = merge(existing, current, also)
    if merged is None:
        return
    assert {one.external_task_id for one in merged} >= {one.external_task_id for one in existing}
    assert sorted(one.external_task_id for one in merged if one.current) == sorted(
        one.external_task_id for one in current
    )
    assert merge(merged, current, also) is None
