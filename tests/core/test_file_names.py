"""Which names are copies that programs make, and which are a spec's name misspelt."""

from __future__ import annotations

import pytest

from reconciler.core.naming import copied_from, spec_meant


@pytest.mark.parametrize(
    ("stem", "originals", "is_certain", "reason"),
    [
        ("v.sync-conflict-20261102-103000-ABCDEFG", ("v",), True, "Syncthing"),
        ("v (conflicted copy 2026-11-02 103000)", ("v",), True, "Nextcloud"),
        ("v (Ann's conflicted copy 2026-11-02)", ("v",), True, "Dropbox"),
        ("v (Ann's conflicted copy 2026-11-02) (1)", ("v (Ann's conflicted copy 2026-11-02)", "v"), True, "Dropbox, again"),
        ("v (SFConflict ann@example.com 2026-11-02-10-30-00)", ("v",), True, "Seafile"),
        ("v_NAS_Nov-02-1030-2026_Conflict", ("v",), True, "Synology Drive"),
        ("v_Conflict", ("v",), True, "Synology"),
        ("v_conflict-20261102-103000", ("v",), True, "ownCloud"),
        ("v [conflicted]", ("v",), True, "pCloud"),
        ("v.Conflict", ("v",), True, "Resilio"),
        ("v" + "~" * 200, tuple("v" + "~" * number for number in range(199, 189, -1)), True, "nobody calls a spec that"),
        ("v (In Konflikt stehende Kopie von Ann)", ("v",), True, "Dropbox in German"),
        ("Copy of v", ("v",), False, "Google Drive"),
        ("Copy (2) of v", ("v",), False, "older Windows"),
        ("v copy", ("v",), False, "Finder"),
        ("v copy 2", ("v copy", "v"), False, "Finder, the second one: or a copy of the first"),
        ("v 2", ("v",), False, "iCloud"),
        ("v (1)", ("v",), False, "a browser"),
        ("v(1)", ("v",), False, "Google Drive"),
        ("v - Copy", ("v",), False, "Windows"),
        ("v - Copy (2)", ("v - Copy", "v"), False, "Windows, the second one"),
        ("v - Kopie", ("v",), False, "Windows in German"),
        ("v (another copy)", ("v",), False, "GNOME"),
        ("v (3rd copy)", ("v",), False, "GNOME, the third one"),
        ("v_LOCAL_1234", ("v",), False, "git mergetool"),
        ("v.REMOTE.1234", ("v",), False, "an older git mergetool"),
        ("v-DESKTOP-4F2K9AB", ("v",), False, "OneDrive"),
        ("v-Anns-MacBook-Pro", ("v",), False, "OneDrive on a Mac"),
        ("v_copy", ("v",), False, "a person in a hurry"),
        ("v.bak", ("v",), False, "an editor"),
        ("v~", ("v",), False, "Emacs"),
        ("~$v", ("v",), False, "an office program's lock"),
        ("v - 副本", ("v",), False, "Windows in Chinese"),
        ("v的副本", ("v",), False, "Finder in Chinese"),
        ("_defaults 2", ("_defaults",), False, "of a defaults file"),
        ("dance.receipt 2", ("dance.receipt",), False, "of a receipt"),
    ],
)  # fmt: skip
def test_a_copy_is_known_by_its_name(
    stem: str, originals: tuple[str, ...], is_certain: bool, reason: str
) -> None:
    """What a program calls a copy leads back to the original, and only the word conflict needs no original."""
    found = copied_from(stem)
    assert found is not None, reason
    assert found.is_certain is is_certain, reason
    assert found.originals[-1] == originals[-1], reason
    assert set(found.originals) <= set(originals), reason


@pytest.mark.parametrize(
    "stem",
    ["v", "dance2", "v2", "dance-2", "take_2", "copy", "conflict", "copycat", "a.b", "v-PRO", "2", "(1)", "scene 2026", "hip-hop copycat"],
)  # fmt: skip
def test_a_name_of_its_own_is_no_copy(stem: str) -> None:
    """Names that people give to specs are taken as they are."""
    assert copied_from(stem) is None


def test_a_long_name_is_looked_at_in_no_time() -> None:
    """No name, however odd, keeps the program busy: this one would take an expression that tries everything for ever."""
    assert copied_from("(" * 255) is None
    assert copied_from("v" + " (1)" * 60) is not None


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("dance.yaml.txt", "dance.yaml"),
        ("dance.yml.txt", "dance.yml"),
        ("dance.JSON.txt", "dance.json"),
        ("dance.ymal", "dance.yaml"),
        ("dance.yalm", "dance.yaml"),
        ("dance.yam", "dance.yaml"),
        ("dance.yaaml", "dance.yaml"),
        ("dance.ymll", "dance.yml"),
        ("dance.jsn", "dance.json"),
        ("dance.josn", "dance.json"),
        ("dance.jsonc", "dance.json"),
        ("dance.tolm", "dance.toml"),
        ("dance.yaml_", "dance.yaml"),
        ("dance.yaml.", "dance.yaml"),
        ("dance.yaml", ""),
        ("dance.mp4", ""),
        ("dance.xml", ""),
        ("dance.html", ""),
        ("dance.jsonl", ""),
        ("dance.txt", ""),
        ("dance.yaml~", ""),
        ("dance.yaml.bak", ""),
        ("yaml", ""),
        (".ymal", ""),
    ],
)
def test_a_misspelt_name_tells_what_it_was_meant_to_be(name: str, meant: str) -> None:
    """One slip of the finger is understood; a backup and another format are what they are."""
    assert spec_meant(name) == meant
