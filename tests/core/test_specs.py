"""What a spec may say: wishes, labels, takes, and a sentence at a place for everything else."""

from __future__ import annotations

import time
from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.core.documents import Place, Problem
from reconciler.core.generations import Generation, circles, collisions
from reconciler.core.kinds import DEFAULT, keys_of, schema
from reconciler.core.media_rules import Source
from reconciler.core.motion_control import UNITS_PER_SECOND
from reconciler.core.naming import label_part, output_path, receipt_path
from reconciler.core.specs import check_defaults, declare, read_wishes
from reconciler.core.states import Role

from .builders import SMALLEST, generations, node

KEYS = keys_of(DEFAULT)


def problems(value: object, file: str = "specs/dance.yaml") -> list[Problem]:
    wishes, found = read_wishes(node(value, file))
    assert bool(found) or wishes, "a valid spec asks for something"
    return found


def without(key: str) -> dict[str, object]:
    return {name: value for name, value in SMALLEST.items() if name != key}


@pytest.mark.parametrize(
    ("value", "key", "words", "suggestion", "reason"),
    [
        (None, "", "is empty", "", "an empty file asks for nothing"),
        ([1], "", "is a list", "", "a list is no spec"),
        (without("mode"), "mode", "`mode` is required", "", "the API has no default for it"),
        ({**SMALLEST, "promt": "x"}, "promt", "not a key of a spec", "prompt", "a slip"),
        ({**SMALLEST, "Mode": "x"}, "Mode", "not a key of a spec", "mode", "keys are lower-case"),
        ({**SMALLEST, "mode": "prp"}, "mode", "std or pro", "pro", "a slip in a value"),
        ({**SMALLEST, "mode": None}, "mode", "`mode` is required", "", "a value was forgotten"),
        ({**SMALLEST, "matrix": {"prompt": [None, "x"]}}, "matrix.prompt", "lists an empty value", "", "of a list nothing is left out"),
        ({**SMALLEST, "watermark_info": {"enabled": None}}, "watermark_info.enabled", "is required", "", "also inside"),
        ({**SMALLEST, "model": "kling-v3"}, "model", "not a key", "model_name", "the API's name, not one that looks like it"),
        ({**SMALLEST, "sound": "no"}, "sound", "not a key", "keep_original_sound", "the end of the API's name"),
        ({**SMALLEST, "watermark": True}, "watermark", "not a key", "watermark_info", "the beginning of it"),
        ({**SMALLEST, "elements": []}, "elements", "not a key", "element_list", "more than one"),
        ({**SMALLEST, "characterOrientation": "x"}, "characterOrientation", "not a key", "character_orientation", "as JavaScript writes it"),
        ({**SMALLEST, "name": "x"}, "name", "not a key", "", "a word that says nothing"),
        ({**SMALLEST, "prompt": "${HERO} waves"}, "prompt", "`${HERO}` would be sent as it is", "", "nothing is replaced"),
        ({**SMALLEST, "prompt": "{{ hero }} waves"}, "prompt", "`{{ hero }}`", "", "nor this"),
        ({**SMALLEST, "prompt": "$(cat prompt.txt)"}, "prompt", "`$(cat prompt.txt)`", "", "nor is anything run"),
        ({**SMALLEST, "prompt": "{% if x %}waves"}, "prompt", "`{% if x %}`", "", "nor decided"),
        ({**SMALLEST, "image_url": "$MEDIA/girl.png"}, "image_url", "`$MEDIA`", "", "in a path"),
        ({**SMALLEST, "mode": "${MODE:-pro}"}, "mode", "`${MODE:-pro}`", "", "said once, and not as a wrong value too"),
        ({**SMALLEST, "matrix": {"prompt": ["a", "${B}"]}}, "prompt", "`${B}`", "", "in one combination"),
        ({**SMALLEST, "prompt": 12}, "prompt", "must be text", "", "a number is no prompt"),
        ({**SMALLEST, "prompt": "x" * 2501}, "prompt", "2,501", "", "the API's limit"),
        ({**SMALLEST, "takes": 0}, "takes", "at least 1", "", "nothing is asked for by no spec"),
        ({**SMALLEST, "takes": 101}, "takes", "at most 100", "", "a slip costs money"),
        ({**SMALLEST, "takes": True}, "takes", "a whole number", "", "yes is no number"),
        ({**SMALLEST, "takes": 1.0}, "takes", "a whole number", "", "nor is 1.0"),
        ({**SMALLEST, "retries": -1}, "retries", "at least 0", "", "fewer than none"),
        ({**SMALLEST, "suspend": "yes"}, "suspend", "true or false", "", "a text is no answer"),
        ({**SMALLEST, "suspend": 1}, "suspend", "true or false", "", "nor is a number"),
        ({**SMALLEST, "suspended": True}, "suspended", "not a key of a spec", "suspend", "a slip"),
        ({**SMALLEST, "matrix": {"suspend": [True, False]}}, "matrix.suspend", "cannot be multiplied", "", "a spec is suspended as a whole"),
        ({**SMALLEST, "image_url": ""}, "image_url", "image_url", "", "an empty path"),
        ({**SMALLEST, "keep_original_sound": "maybe"}, "keep_original_sound", "yes or no", "", "a third way"),
        ({**SMALLEST, "watermark_info": True}, "watermark_info", "a mapping", "", "it is an object"),
        ({**SMALLEST, "watermark_info": {"enabled": True, "enable": 1}}, "watermark_info.enable", "enabled", "enabled", "a slip inside"),
        ({**SMALLEST, "element_list": [{"element_id": 1}] * 2}, "element_list", "at most 1", "", "one element only"),
        ({**SMALLEST, "element_list": [{"element_id": 2**63}]}, "element_list.0.element_id", "at most", "", "more than 64 bits"),
        ({**SMALLEST, "element_list": [{"element_id": 1.5}]}, "element_list.0.element_id", "a whole number", "", "half an id"),
        ({**SMALLEST, "element_list": [{"element_id": 1}]}, "character_orientation", "can only be `video`", "", "an element needs video"),
        ({**SMALLEST, "callback_url": "ftp://x/y"}, "callback_url", "not an http", "", "nobody can POST there"),
        ({**SMALLEST, "external_task_id": "a b"}, "external_task_id", "letters, digits", "", "not fit for a URL"),
        ({**SMALLEST, "external_task_id": "x" * 65}, "external_task_id", "letters, digits", "", "too long"),
        ({**SMALLEST, "external_task_id": "a\n"}, "external_task_id", "letters, digits", "", "a line break at the end"),
        ({**SMALLEST, "external_task_id": "a-r2"}, "external_task_id", "reserved", "", "it would be another's attempt"),
        ({**SMALLEST, "external_task_id": "mc1-a"}, "external_task_id", "reserved", "", "it would pose as computed"),
        ({**SMALLEST, "external_task_id": ".."}, "external_task_id", "reserved", "", "it would change the URL"),
        ({**SMALLEST, "external_task_id": "a", "takes": 2}, "external_task_id", "declares 2", "", "one id, two results"),
        ({**SMALLEST, "matrix": [1]}, "matrix", "must be a mapping of keys to lists", "", "a list is no matrix"),
        ({**SMALLEST, "matrix": {"mod": ["pro"]}}, "matrix.mod", "cannot be multiplied", "mode", "a slip in an axis"),
        ({**SMALLEST, "matrix": {"takes": [1, 2]}}, "matrix.takes", "cannot be multiplied", "", "takes multiply already"),
        ({**SMALLEST, "matrix": {"mode": "pro"}}, "matrix.mode", "list of at least one", "", "an axis is a list"),
        ({**SMALLEST, "matrix": {"mode": []}}, "matrix.mode", "list of at least one", "", "an empty axis asks for nothing"),
        ({**SMALLEST, "matrix": {"mode": ["pro", "pro"]}}, "matrix.mode", "twice", "", "the same twice is a slip"),
        ({**SMALLEST, "matrix": {"keep_original_sound": [True, "yes"]}}, "matrix", "same name", "", "two spellings of the same"),
        ({**SMALLEST, "matrix": {"prompt": [str(n) for n in range(1001)]}}, "matrix", "1001 combinations", "", "an order for thousands"),
        ({**SMALLEST, "takes": 100, "matrix": {"prompt": [str(n) for n in range(11)]}}, "takes", "1,100 results", "", "so are takes of combinations"),
        ({**SMALLEST, "kind": "lip-sync"}, "kind", "motion-control", "", "not a kind yet"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_spec_is_said(
    value: object, key: str, words: str, suggestion: str, reason: str
) -> None:
    """Each mistake is one problem at its key, with the word that was probably meant."""
    (problem,) = problems(value)
    assert (problem.key, problem.suggestion) == (key, suggestion), reason
    assert words in problem.message, reason


ODD = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from(["pro", "yes", "", "é" * 99, "a b", "9" * 30]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["element_id", "enabled", "mode", "prompt", "x"]), inner, max_size=3
        )
    ),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from([*KEYS, "promt", ""]), ODD, max_size=8))
def test_whatever_a_spec_says_the_answer_is_wishes_or_problems(changes: dict[str, object]) -> None:
    """No value in a spec ends in anything but wishes or sentences."""
    document = node({**SMALLEST, **changes})
    wishes, found = read_wishes(document)
    assert wishes or found
    check_defaults(document)
    for wish in wishes if not found else ():
        declare(
            wish,
            {
                "image_url": Source(url="https://e.com/i"),
                "video_url": Source(url="https://e.com/v"),
            },
            {},
        )


def test_a_problem_stands_at_the_key_when_the_key_is_wrong_and_at_the_value_otherwise() -> None:
    """The place of a problem is the word that has to be changed."""
    wrong = {**SMALLEST, "mode": "prp", "promt": "x"}
    assert [problem.place for problem in problems(wrong)] == [
        Place("specs/dance.yaml", 4, 9),
        Place("specs/dance.yaml", 5, 1),
    ]


def test_every_problem_of_a_spec_is_said_at_once_and_only_once() -> None:
    """Mending a spec takes one round, and a matrix does not repeat its problems."""
    wrong = {**SMALLEST, "mode": "x", "takes": 0, "matrix": {"prompt": ["a", "b"]}}
    assert [problem.key for problem in problems(wrong)] == ["mode", "takes"]


def test_white_space_around_a_prompt_does_not_count_against_its_limit() -> None:
    """The limit is that of the text that is sent."""
    assert not problems({**SMALLEST, "prompt": "x" * 2500 + "\n"})


def test_a_spec_with_one_generation_has_an_empty_label() -> None:
    """A spec for one video names it like itself, however that one is spelled."""
    ways: list[dict[str, object]] = [
        {},
        {"takes": 1},
        {"matrix": {"mode": ["std"]}},
        {"matrix": {}},
    ]
    for one in ways:
        (generation,) = generations({**SMALLEST, **one})
        assert generation.label == ""
        assert generation.outputs == ((Role.VIDEO, "specs/dance.mp4"),)


def test_labels_are_matrix_values_in_the_order_written_and_then_the_take() -> None:
    """Which file is which combination can be told from its name."""
    spec = {
        **SMALLEST,
        "takes": 2,
        "matrix": {"mode": ["pro", "std"], "keep_original_sound": [False, True]},
    }
    assert [generation.label for generation in generations(spec)] == [
        "pro.no.1", "pro.no.2", "pro.yes.1", "pro.yes.2", "std.no.1", "std.no.2", "std.yes.1", "std.yes.2",
    ]  # fmt: skip
    assert generations({**SMALLEST, "matrix": {"mode": ["pro"]}, "takes": 2})[1].label == "pro.2"
    assert [one.label for one in generations({**SMALLEST, "takes": 2})] == ["1", "2"]


def test_a_suspended_spec_declares_the_same_generations_each_marked() -> None:
    """Suspending and resuming changes no id, so that it buys nothing again."""
    spec = {**SMALLEST, "takes": 2, "matrix": {"mode": ["std", "pro"]}}
    bought, held = generations(spec), generations({**spec, "suspend": True})
    assert not any(one.suspended for one in bought)
    assert all(one.suspended for one in held)
    assert [replace(one, suspended=False) for one in held] == bought
    assert generations({**spec, "suspend": False}) == bought


def test_a_watermarked_copy_has_a_path_of_its_own() -> None:
    """The copy with a watermark lies beside the clean one and never replaces it."""
    (generation,) = generations({**SMALLEST, "watermark_info": {"enabled": True}})
    assert dict(generation.outputs)[Role.WATERMARK] == "specs/dance.watermark.mp4"


@given(st.text(max_size=300).filter(bool) | st.booleans() | st.integers())
def test_a_label_is_always_safe_in_a_file_name(value: object) -> None:
    """No value of a matrix can leave the folder or break a file system."""
    part = label_part(value)
    assert 0 < len(part) <= 32
    assert set(part) <= set("abcdefghijklmnopqrstuvwxyz0123456789-_")


@given(st.sets(st.text(min_size=1), min_size=2, max_size=2))
def test_different_values_have_different_labels(values: set[str]) -> None:
    """Two combinations never write the same file."""
    one, other = values
    assert label_part(one) != label_part(other)


def test_many_axes_of_long_values_still_make_a_file_name() -> None:
    """Long values are shortened so that each combination keeps a name of its own."""
    spec = {
        **SMALLEST,
        "matrix": {
            key: [f"https://example.com/{key}/{'long' * 20}/{n}" for n in range(2)]
            for key in ("image_url", "video_url", "callback_url")
        }
        | {"prompt": ["x" * 60, "y" * 60]},
    }
    labels = {generation.label for generation in generations(spec)}
    assert len(labels) == 16
    assert max(map(len, labels)) <= 100


def test_a_spec_whose_results_could_not_be_named_is_refused_before_it_is_bought() -> None:
    """Nothing is paid for that could not be stored under its name."""
    (problem,) = problems(SMALLEST, f"specs/{'é' * 125}.yaml")
    assert "too long" in problem.message
    assert not problems(SMALLEST, f"specs/{'é' * 110}.yaml")


@pytest.mark.parametrize(
    ("spec", "output", "receipt"),
    [
        ("specs/dance.yaml", "specs/dance.mp4", "specs/dance.receipt.json"),
        ("specs/v1.2/a.b.toml", "specs/v1.2/a.b.mp4", "specs/v1.2/a.b.receipt.json"),
        ("dance.json", "dance.mp4", "dance.receipt.json"),
    ],
)
def test_results_lie_beside_their_spec(spec: str, output: str, receipt: str) -> None:
    """Video and receipt have the spec's folder and name, dots included."""
    assert (output_path(spec, ""), receipt_path(spec)) == (output, receipt)


@pytest.mark.parametrize(
    ("one", "other", "collide", "reason"),
    [
        ("specs/a.yaml", "specs/b.yaml", False, "different names"),
        ("specs/a.yaml", "specs/a.json", True, "one name, two formats"),
        ("specs/a.yaml", "specs/A.yaml", True, "many file systems see one file"),
        ("specs/x/a.yaml", "specs/y/a.yaml", False, "different folders"),
    ],
)
def test_two_specs_that_write_the_same_file_are_both_refused(
    one: str, other: str, collide: bool, reason: str
) -> None:
    """Neither of two specs with one output wins by chance, also where only the case differs."""
    found = collisions([*generations(SMALLEST, one), *generations(SMALLEST, other)])
    assert {problem.place.file for problem in found} == ({one, other} if collide else set()), reason


def test_a_label_that_makes_another_specs_name_collides_too() -> None:
    """Collisions are found in the paths that are written, not in the names of specs."""
    takes = generations({**SMALLEST, "takes": 2}, "specs/a.yaml")
    single = generations(SMALLEST, "specs/a.2.yaml")
    assert len(collisions([*takes, *single])) == 2


def test_the_same_wish_in_two_specs_is_no_collision() -> None:
    """One generation may be wanted in several places, and is bought once."""
    assert not collisions([*generations(SMALLEST, "a.yaml"), *generations(SMALLEST, "b.yaml")])


def test_an_id_of_ones_own_names_one_content() -> None:
    """The same id with another content is refused before the provider could mix them up."""
    own = {**SMALLEST, "external_task_id": "mine"}
    same = [*generations(own, "a.yaml"), *generations(own, "b.yaml")]
    different = [*generations(own, "a.yaml"), *generations({**own, "mode": "std"}, "b.yaml")]
    assert not collisions(same)
    assert {problem.key for problem in collisions(different)} == {"external_task_id"}


def made_of(video: str) -> dict[str, Source]:
    return {"image_url": Source(url="https://e.com/i.png"), "video_url": Source(path=video)}


def fed(spec: str, video: str) -> Generation:
    """A generation whose motion is a local file."""
    wishes, _ = read_wishes(node(SMALLEST, spec))
    (one,) = declare(wishes[0], made_of(video), {})
    return one


@pytest.mark.parametrize("watermark", [False, True])
def test_no_preview_is_in_the_way_of_anything_but_its_own_twin(watermark: bool) -> None:
    """Specs whose names look like those of previews write other files; names that fit results fit previews too."""
    stems = [
        "a",
        "a.poster",
        "a.sheet",
        "a.poster.poster",
        "a.watermark",
        "poster",
        "a.poster.webp",
    ]
    wanted = {
        **SMALLEST,
        "watermark_info": {"enabled": watermark},
        "matrix": {"mode": ["std", "pro"]},
    }
    wishes = [
        generation
        for stem in stems
        for generation in (
            *generations({**SMALLEST, "prompt": stem}, f"{stem}.yaml"),
            *generations({**wanted, "prompt": f"{stem} 2"}, f"{stem}.poster.x.yaml"),
        )
    ]
    paths = [path for wish in wishes for _, path in (*wish.outputs, *wish.previews)]
    assert len(set(paths)) == len(paths)
    assert collisions(wishes) == []
    longest = max(len(output_path("a.yaml", "", role)) for role in Role)
    assert len(output_path("a.yaml", "", Role.WATERMARK)) == longest


@pytest.mark.parametrize(
    ("feeds", "refused", "reason"),
    [
        ({"a.yaml": "assets/v.mp4"}, set(), "an input of its own"),
        ({"a.yaml": "a.mp4"}, {"a.yaml"}, "it would overwrite its own input"),
        ({"a.yaml": "A.mp4"}, {"a.yaml"}, "also where case does not count"),
        ({"a.yaml": "a.poster.webp"}, {"a.yaml"}, "a preview is written too"),
        ({"a.yaml": "b.sheet.webp", "b.yaml": "a.poster.webp"}, {"a.yaml", "b.yaml"}, "and may lead back"),
        ({"a.yaml": "v.mp4", "b.yaml": "a.mp4"}, set(), "a result may feed another spec"),
        ({"a.yaml": "b.mp4", "b.yaml": "a.mp4"}, {"a.yaml", "b.yaml"}, "two that feed each other"),
        ({"a.yaml": "b.mp4", "b.yaml": "c.mp4", "c.yaml": "a.mp4", "d.yaml": "a.mp4"}, {"a.yaml", "b.yaml", "c.yaml"}, "three; the fourth only reads"),
    ],
)  # fmt: skip
def test_a_circle_of_results_would_be_bought_for_ever_and_is_refused(
    feeds: dict[str, str], refused: set[str], reason: str
) -> None:
    """Results may feed other specs, but never, over any detour, themselves."""
    found = collisions([fed(spec, video) for spec, video in feeds.items()])
    assert {problem.place.file for problem in found} == refused, reason


def test_a_long_chain_of_results_is_followed_in_a_moment() -> None:
    """Thousands of specs that feed one another: the circle among them is told, and what only leads into it is not."""
    names = [f"{number}.yaml" for number in range(6_000)]
    one = fed("v.yaml", "w.mp4")
    chain = [
        replace(one, spec=name, inputs=made_of(f"{(number or 3_000) - 1}.mp4"))
        for number, name in enumerate(names)
    ]
    before = time.process_time()
    found = {problem.place.file for problem in circles(chain)}
    assert time.process_time() - before < 2
    assert found == set(names[:3_000])


@pytest.mark.parametrize(
    ("value", "keys", "reason"),
    [
        (None, [], "an empty defaults file says nothing"),
        ({"mode": "pro"}, [], "it may lack what a spec must have"),
        ({"mode": "prp", "promt": "x"}, ["mode", "promt"], "but not misspell it"),
        ({"watermark_info": {}}, ["watermark_info.enabled"], "nor leave a value half said"),
        ({"external_task_id": "a"}, ["external_task_id"], "an id names one generation"),
        ({"suspend": True}, [], "a whole folder may be suspended"),
        ({"suspend": "on"}, ["suspend"], "but not by a text"),
        ([1], [""], "it is a mapping"),
        (
            {"$schema": "x", "mode": None, "external_task_id": None},
            [],
            "what is left out is not said",
        ),
        ({"prompt": "${HERO}"}, ["prompt"], "nothing is replaced here either"),
    ],
)
def test_a_defaults_file_is_checked_by_itself(value: object, keys: list[str], reason: str) -> None:
    """A mistake in defaults is found without a spec below, and what only specs must say may lack."""
    assert [problem.key for problem in check_defaults(node(value))] == keys, reason


@pytest.mark.parametrize(
    "more",
    [
        {"$schema": "../spec.schema.json"},
        {"$schema": {"any": "thing"}},
        dict.fromkeys(key for key in KEYS if key not in SMALLEST),
        {"prompt": None, "matrix": {}},
    ],
)
def test_what_is_left_out_or_for_editors_changes_nothing(more: dict[str, object]) -> None:
    """A key without a value, and the name of a schema, ask for the same as the spec without them."""
    (plain,), (same,) = generations(SMALLEST), generations({**SMALLEST, **more})
    assert same.external_task_id == plain.external_task_id


@pytest.mark.parametrize(
    "text",
    [
        "a {{ b }} c",
        "{{ {{ b }}",
        "x\n{{{a}}}",
        "{% if %}",
        "{{ {% b %}",
        "$(date)",
        "a ${B}",
        "$HERO",
    ],
)
def test_what_something_else_would_replace_is_not_bought(text: str) -> None:
    """Every kind of placeholder is found, wherever in the text it stands."""
    (problem,) = problems({**SMALLEST, "prompt": text})
    assert "nothing is replaced in a spec" in problem.message


THOUSAND = {"matrix": {"prompt": [f"wave {number}" for number in range(1000)]}}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"prompt": "{{" * 32_768}, "what opens and never closes"),
        ({"prompt": "{%" * 32_768}, "in either way"),
        ({"prompt": "{{ }" * 16_384 + "${" * 16_384}, "what nearly closes"),
        ({"callback_url": "https://e.com/" + "{{" * 32_000} | THOUSAND, "in each of a thousand combinations"),
        ({f"key{number}": 1 for number in range(4_000)} | THOUSAND, "thousands of wrong keys, a thousand times"),
        ({f"key{number}": 1 for number in range(90)} | THOUSAND, "as many as are told, a thousand times"),
        ({"element_list": ["x"] * 9_000} | THOUSAND, "thousands of wrong values, a thousand times"),
        ({"matrix": {f"key{number}": [1] for number in range(4_000)}}, "thousands of wrong axes"),
    ],
)  # fmt: skip
def test_no_spec_keeps_the_program_busy(changes: dict[str, object], reason: str) -> None:
    """As much as fits into a file is told to be wrong in a moment, and the daemon goes on."""
    document = node({**SMALLEST, **changes})
    before = time.process_time()
    _, found = read_wishes(document)
    check_defaults(document)
    assert time.process_time() - before < 2, reason
    assert found, reason
    assert max(len(problem.message) for problem in found) < 1000, reason


@pytest.mark.parametrize(
    "text", ["costs $5", "100 %", "{smiles}", "a { b } c", "US$ 20", "$ 3", "(x) $a", "a}} b"]
)
def test_a_prompt_may_hold_signs_that_ask_for_nothing(text: str) -> None:
    """Money, brackets and percent signs are words like others."""
    assert generations({**SMALLEST, "prompt": text})


def test_no_prompt_can_imitate_a_watermark() -> None:
    """What outputs there are is decided by fields, never by the text of a prompt."""
    (generation,) = generations({**SMALLEST, "prompt": '"watermark_info":{"enabled":true}'})
    assert [role for role, _ in generation.outputs] == [Role.VIDEO]


def test_the_editor_schema_knows_every_key() -> None:
    """Editors complete and check exactly the keys that the program takes."""
    document = schema()
    assert tuple(document["properties"]) == ("$schema", *KEYS)
    assert document["additionalProperties"] is False
    multiplied = document["properties"]["matrix"]["properties"]
    assert "mode" in multiplied
    assert not {"takes", "retries", "suspend"} & multiplied.keys()
    assert document["properties"]["suspend"]["type"] == "boolean"


NEWER = {**UNITS_PER_SECOND, "kling-v4": {"pro": Decimal(2)}}


@pytest.mark.parametrize(
    ("model", "mode", "said", "reason"),
    [
        ("kling-v4", "pro", "", "newer than this program, and priced"),
        ("kling-v4", "std", "no price for its mode `std`", "nobody said what that costs"),
        ("kling-v5", "pro", "it can be kling-v2-6 or kling-v3", "unknown"),
        ("kling-v33", "pro", "`[prices.NAME]`", "a slip, perhaps"),
        ("", "pro", "model_name", "nothing"),
    ],
)
def test_a_model_is_sent_where_somebody_said_what_it_costs(
    model: str, mode: str, said: str, reason: str
) -> None:
    """Without a price no cap could count it."""
    value = {**SMALLEST, "model_name": model, "mode": mode}
    wishes, problems = read_wishes(node(value, "specs/a.yaml"), NEWER)
    assert bool(wishes) is not bool(said), reason
    assert [said in problem.message for problem in problems] == [True] * bool(said), problems
