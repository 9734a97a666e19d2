"""Prompt pairs from texts: tokens as the model reads them, positions called by words, every mistake said with its tokens."""

import itertools
import random
import re
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from doc_blocks import python_blocks
from examples_by_path import example
from tokenizers import pre_tokenizers, processors
from worded import END, byte_tokenizer, word_bridge, word_model, word_tokenizer

from grokscope import analyses, circuits
from grokscope.circuits.roles import role_problems
from grokscope.tasks import PromptPairs
from grokscope.tasks.questions.padding import logits_at_answer
from grokscope.tasks.questions.template import Part, filled, parts_of
from grokscope.tasks.questions.word_roles import Label, roles_of, valid

pytestmark = pytest.mark.usefixtures("as_users_call")
ROOT = Path(__file__).parents[3]
WORDS = example("examples/prompts_in_words.py")
TEMPLATE = "After {IO} and {S} came to the {place}, {S2} handed the {thing} to"
SAID = dict(IO="Mary", S="John", place="park", S2="John", thing="book")
ONE = {
    "clean": [TEMPLATE.format(**SAID)],
    "corrupt": [TEMPLATE.format(**SAID | {"S2": "Mary"})],
    "answers": [" Mary"],
    "foils": [" John"],
}
IOI_ROLES = ["bos", "After", "IO", "and", "S", "came", "to", "the", "place", ",", "S2", "handed", "the.2", "thing", "to.2"]


@cache
def texts() -> tuple[str, ...]:
    """What tokenizers are trained on; all words of the three tasks."""
    all_texts = [make(n=64, seed=0) for make in WORDS.TASKS.values()]
    more = ["Later, Later, Later", *(f"Much later {year}" for year in range(9))]
    more += [f"the New York park {year // 100} {year} {year % 100:02}" for year in range(1702, 1799)]
    more += [f"{name} {name}" for name in WORDS.NAMES]
    return tuple(text for made in all_texts for column in made[:4] for text in column) + tuple(more)


@cache
def model(kind: str = "byte", *, prepends: bool = True, side: str = "right", bos: bool = True, bridge: bool = False) -> Any:
    """A model with a tokenizer of a kind; no test changes it."""
    made = byte_tokenizer(texts(), prepends=prepends, side=side) if kind == "byte" else word_tokenizer(texts(), side=side)
    return (word_bridge if bridge else word_model)(made, bos=bos)


def pairs(of: Any = None, **changes: Any) -> PromptPairs:
    return PromptPairs.from_text(of or model(), **{**ONE, "template": TEMPLATE, **changes})


def error(of: Any = None, **changes: Any) -> str:
    with pytest.raises(ValueError) as caught:
        pairs(of, **changes)
    return str(caught.value)


@pytest.mark.parametrize("bridge", [False, True], ids=["hooked", "bridge"])
@pytest.mark.parametrize("bos", [True, False], ids=["bos", "no bos"])
@pytest.mark.parametrize("prepends", [True, False], ids=["tokenizer's", "put before the text"])
def test_tokens_are_those_of_the_model(bridge: bool, bos: bool, prepends: bool) -> None:
    """BOS as the model has it, whoever puts it there."""
    asked = model(prepends=prepends, bos=bos, bridge=bridge)
    found = pairs(asked)
    for side in ("clean", "corrupt"):
        assert torch.equal(getattr(found, side), asked.to_tokens(ONE[side]).cpu())
    assert list(found.roles) == IOI_ROLES[not bos :]
    assert [asked.tokenizer.decode(each) for each in (found.answers, found.foils)] == [" Mary", " John"]
    assert found.answer_role == "to.2" and found.recipe["template"] == TEMPLATE
    differ = [role for role, row in zip(found.roles, (found.clean != found.corrupt)[0], strict=True) if row]
    assert differ == ["S2"]
    assert found.key == pairs(model(prepends=not prepends, bos=bos)).key


def test_a_tokenizer_of_whole_words_loses_spaces_and_no_roles() -> None:
    """Its answers may be written with a space or without."""
    found = pairs(model("word"))
    assert list(found.roles) == IOI_ROLES
    assert found.key == pairs(model("word"), answers=["Mary"], foils=["John"]).key


def test_the_model_is_left_as_found() -> None:
    asked = word_model(byte_tokenizer(texts(), prepends=False), bos=False).train()
    before = repr((asked.cfg, asked.tokenizer.padding_side, asked.training, asked.tokenizer.truncation_side))
    pairs(asked)
    error(asked, answers=["Mary"], pad="left")
    assert repr((asked.cfg, asked.tokenizer.padding_side, asked.training, asked.tokenizer.truncation_side)) == before


def test_what_a_tokenizer_puts_after_the_text_is_left_out() -> None:
    """The answer follows the text, not its end."""
    made = byte_tokenizer(texts())
    ends = processors.TemplateProcessing(single=f"{END} $A {END}", special_tokens=[(END, made.eos_token_id)])
    made.backend_tokenizer.post_processor = ends
    asked = word_model(made)
    assert asked.to_tokens(ONE["clean"])[0, -1] == made.eos_token_id
    assert torch.equal(pairs(asked).clean, asked.to_tokens(ONE["clean"])[:, :-1])
    assert list(pairs(asked).roles) == IOI_ROLES


def test_an_answer_is_the_token_that_follows_its_prompt() -> None:
    """Not that of the same text alone, before which some tokenizers put a space."""
    made = byte_tokenizer([" the box s of John"] * 9)
    made.backend_tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    asked = word_model(made)
    found = pairs(asked, clean=["the box"], corrupt=["of box"], answers=["s"], foils=[" s"], template=None)
    assert [made.decode(each) for each in (found.answers, found.foils)] == ["s", " s"]


# Roles


def test_without_a_template_positions_are_called_by_the_words_of_the_first_prompt() -> None:
    found = pairs(template=None)
    assert found.roles == tuple(
        [
            "bos",
            "After",
            "Mary",
            "and",
            "John",
            "came",
            "to",
            "the",
            "park",
            ",",
            "John.2",
            "handed",
            "the.2",
            "book",
            "to.2",
        ]
    )
    assert "template" not in found.recipe


def test_several_tokens_of_a_slot_are_numbered_and_of_a_word_too() -> None:
    said = SAID | {"place": "New York park"}
    changes = {"clean": [TEMPLATE.format(**said)], "corrupt": [TEMPLATE.format(**said | {"S2": "Mary"})]}
    found = pairs(**changes)
    assert found.roles[8:12] == ("place1", "place2", "place3", ",")
    assert pairs(template="After {IO} and {S} came to the {place2}, {S2} handed the {thing} to", **changes).roles[8:9] == (
        "place21",
    )
    unknown = {side: [ONE[side][0].replace("handed", "xyz")] for side in ("clean", "corrupt")}
    assert pairs(template=None, **unknown).roles[11:14] == ("space", "xyz1", "xyz2")


def test_a_slot_has_its_name_to_itself() -> None:
    template = "After {and} and {to} came to the {place}, {S2} handed the {bos} to"
    roles = pairs(template=template).roles
    assert roles == tuple(
        ["bos.2", "After", "and", "and.2", "to", "came", "to.2", "the", "place", ",", "S2", "handed", "the.2", "bos", "to.3"]
    )


@pytest.mark.parametrize("seed", range(20))
def test_roles_of_any_tokens_are_possible_and_different(seed: int) -> None:
    rng = random.Random(seed)
    words = ["a", "a1", "a2", "a.2", "@", " ", "\n", "\x00", "é", "->", END, "<|>", "bos", "\u200b"]
    labels = []
    for piece in range(12):
        word, is_slot = rng.choice(words), rng.random() < 0.3
        labels += [Label(rng.choice([piece, -1]), word, is_slot)] * rng.choice([1, 1, 2])
    assert not role_problems(roles_of(labels), len(labels))
    assert all(not role_problems((valid(word),)) for word in words)


# Templates


@pytest.mark.parametrize("seed", range(30))
def test_a_text_fits_a_template_if_there_is_one_way_to_fill_it(seed: int) -> None:
    """Against every way to cut the text."""
    rng = random.Random(seed)
    for _ in range(40):
        text = "".join(rng.choices("ab ", k=rng.randint(1, 7)))
        parts, is_slot = [], rng.random() < 0.5
        for number in range(rng.randint(1, 4)):
            parts.append(
                Part(f"s{number}", True) if is_slot else Part("".join(rng.choices("ab ", k=rng.randint(1, 2))), False)
            )
            is_slot = not is_slot
        ways = [
            cuts
            for cuts in itertools.combinations_with_replacement(range(len(text) + 1), len(parts) - 1)
            if all(_fills(p, text[a:b]) for p, a, b in zip(parts, (0, *cuts), (*cuts, len(text)), strict=True))
        ]
        found = filled(parts, text)
        if len(ways) == 1:
            borders = list(itertools.pairwise((0, *ways[0], len(text))))
            slots = [(a, b, p.text, True) for p, (a, b) in zip(parts, borders, strict=True) if p.is_slot]
            assert [tuple(piece) for piece in found if piece.is_slot] == slots
        else:
            assert found.startswith("fits the template in several ways" if ways else "does not fit")


def _fills(part: Part, piece: str) -> bool:
    return piece == piece.strip() != "" if part.is_slot else piece == part.text


def test_braces_of_the_text_are_written_twice() -> None:
    assert parts_of("{{a}} {b}") == [Part("{a} ", False), Part("b", True)]


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("After {IO", "expected '}'"),
        ("{} and {S}", "slots are called by names, got {}"),
        ("{a b} and", "slots are called by names, got {a b}"),
        ("{a!r} and {b:>3}", "slots have names only, got a format in {a}, slots have names only, got a format in {b}"),
        ("{S} and {S}", "the slot {S} is there twice; call the second one {S2}"),
        ("{a}{b}", "nothing parts the slots {a} and {b}"),
    ],
)
def test_what_is_no_template_is_refused(template: str, said: str) -> None:
    assert said in error(template=template)


# Mistakes


def test_prompts_of_several_lengths_are_shown_with_their_tokens() -> None:
    long = {side: ONE[side] * 3 + [ONE[side][0].replace("park", "New York park")] for side in ("clean", "corrupt")}
    long["clean"][1] = long["clean"][1].replace("John came", "John then came")
    answers = {"answers": [" Mary"] * 4, "foils": [" John"] * 4}
    said = error(**long, **answers, template=None)
    assert "all prompts need one length, most have 15 tokens, and 2 of 4 pairs are at fault" in said
    assert re.search(r"pair 1, clean, \d+ tokens: \|<\|endoftext\|>\|After\| Mary\| and\| John\|.* came\|", said)
    assert "pair 1, corrupt, 15 tokens: |<|endoftext|>|After| Mary" in said
    assert "pair 3, corrupt, 17 tokens: |<|endoftext|>|After| Mary| and| John| came| to| the| New| York| park|,|" in said
    assert "pad='left'" not in said and "pair 0" not in said
    assert "pad='left' would pad" in error(model(side="left"), **long, **answers, template=None)


def test_a_slot_of_several_sizes_is_named_with_its_tokens() -> None:
    other = {"IO": "Mary", "S": "John", "place": "New York park", "thing": "book"}
    both = {
        "clean": [*ONE["clean"], TEMPLATE.format(**other, S2="John")],
        "corrupt": [*ONE["corrupt"], TEMPLATE.format(**other, S2="Mary")],
        "answers": [" Mary"] * 2,
        "foils": [" John"] * 2,
    }
    expected = (
        "the slot {place} needs one number of tokens in all prompts: it has 1, | park|, in pair 0, clean, but 3, "
        "| New| York| park|, in pair 1, clean (2 of 4 prompts differ)"
    )
    assert expected in error(**both)
    padded = error(model(side="left"), **both, pad="left")
    assert "the slot {place} needs one number of tokens" in padded and "one length" not in padded
    # of one length all the same, since another slot is longer
    short = "After Mary and Anna Kate Paul came to the park, John handed the book to"
    same = {
        "clean": [TEMPLATE.format(**other, S2="John"), short],
        "corrupt": [TEMPLATE.format(**other, S2="Mary"), short.replace("park, John", "park, Mary")],
    }
    said = error(**both | same)
    assert "the slot {S} needs one" in said and "the slot {place} needs one" in said and "one length" not in said


def test_words_between_slots_that_are_other_tokens_are_shown() -> None:
    """Where the tokenizer joins what follows a slot to some of its words only."""
    known = ["the parks of Mary", "the box s of John", "the box", "the box"] * 9
    asked = word_model(byte_tokenizer(known, side="left"))
    clean, corrupt = ["the parks of Mary", "the boxs of Mary"], ["the parks of John", "the boxs of John"]
    answers = {"answers": [" Mary"] * 2, "foils": [" John"] * 2}
    said = error(asked, clean=clean, corrupt=corrupt, **answers, template="the {thing}s of {who}", pad="left")
    assert (
        "2 of 4 prompts have other tokens between the slots\n  pair 1, clean: |<|endoftext|>|the| box|s| of| Mary|" in said
    )
    assert "\n  pair 0, clean: |<|endoftext|>|the| parks| of| Mary|" in said


def test_a_slot_within_a_token_is_refused() -> None:
    said = error(template="After M{IO} and J{S}n came to the {place}, {S2} handed the bo{thing}k to", corrupt=ONE["clean"])
    assert "clean and corrupt prompt are the same in 1 of 1 pairs" in said and "no token to itself" not in said
    said = error(template="After Mary and J{o}h{n} came to the {place}, {S2} handed the {thing} to")
    assert "the slot {n} has no token to itself in pair 0, clean: |<|endoftext|>|After| Mary| and| John|" in said


def test_texts_that_do_not_fit_the_template_say_where() -> None:
    said = error(clean=["After Mary and John went to the park, John handed the book to"])
    assert "1 of 2 prompts do not fit template='After {IO} and" in said
    assert (
        "pair 0, clean, 'After Mary and John went to the park, John handed the book to', does not fit the template" in said
    )
    assert "from ' came to the ' on" in said
    assert "which ends in ' to'" in error(clean=[ONE["clean"][0] + " Tom"])
    twice = [ONE[side][0].replace("John came", "John and Tom came") for side in ("clean", "corrupt")]
    assert "fits the template in several ways, by where {IO} ends" in error(clean=twice[:1], corrupt=twice[1:])


def test_answers_that_are_not_one_token_are_shown_with_a_way_to_write_them() -> None:
    said = error(answers=[" Zoe"], foils=["Gertrude"])
    assert re.search(r"answers are one token each, these are not\n  ' Zoe': \d tokens, \| ?\|?Z\|", said)
    assert re.search(r"foils are one token each, these are not\n  'Gertrude': \d tokens, \|G\|", said)
    assert "answer and foil" not in said
    spaced = word_model(byte_tokenizer(["After Mary and John came to the park, John handed the book to Mary"]))
    assert "'Mary': 2 tokens, |Mar|y|; did you mean ' Mary', which is one?" in error(spaced, answers=["Mary"])


def test_words_that_a_tokenizer_does_not_know_are_named() -> None:
    said = error(model("word"), answers=["Zoe"], template=None, clean=[ONE["clean"][0].replace("park", "moor")])
    assert "'Zoe': the tokenizer does not know it, |[UNK]|" in said
    assert "the tokenizer does not know 'moor' (pair 0, clean)" in said


def test_the_parts_of_a_year_follow_each_other_as_two_tokens() -> None:
    """Also where the tokenizer would join them."""
    made = WORDS.greater_than(n=4)
    for kind in ("byte", "word"):
        found = PromptPairs.from_text(model(kind), **made._asdict())
        said = [model(kind).tokenizer.decode(token) for token in found.answers]
        assert said == made.answers


def test_pairs_that_do_not_differ_are_refused() -> None:
    said = error(corrupt=ONE["clean"], foils=[" Mary"])
    assert "clean and corrupt prompt are the same in 1 of 1 pairs, the first is pair 0" in said
    assert "answer and foil are the same in 1 of 1 pairs" in said


def test_what_the_model_lacks_is_said() -> None:
    small = word_model(byte_tokenizer(texts()), n_ctx=9)
    assert "prompts have 15 positions and the model's context 9" in error(small)
    small.cfg.d_vocab = small.cfg.d_vocab_out = 5
    said = error(small)
    assert "a token of the prompts is" in said and "answers is" in said and "the model's tokens are 0 to 4" in said


def test_all_mistakes_are_said_at_once() -> None:
    said = error(clean=ONE["clean"][0], corrupt=["\ud800"], answers=[3], foils=[" John"] * 2, template="{", pad="right")
    for each in ("clean is", "corrupt is", "answers is", "template is", "pad must be", "'left'"):
        assert each in said
    assert "1 in clean, 1 in corrupt, 2 in answers, 1 in foils" in error(answers=[" Mary"] * 2)
    said = error(clean=["Mary came to"], corrupt=["Mary came to"], answers=[" Zoe"], foils=["Gertrude"])
    for each in ("do not fit template", "answers are one token", "foils are one token", "clean and corrupt prompt are the"):
        assert each in said


@pytest.mark.parametrize("bridge", [False, True], ids=["hooked", "bridge"])
def test_a_model_without_a_tokenizer_says_so(bridge: bool) -> None:
    bare = (word_bridge if bridge else word_model)(byte_tokenizer(texts()))
    bare.tokenizer = None
    assert "has no tokenizer" in error(bare)
    bare.tokenizer = SimpleNamespace(padding_side="left", pad_token_id=0)
    assert "with a SimpleNamespace tokenises no texts" in error(bare, pad="left")
    assert "a SimpleNamespace, has no tokenizer; give its tokens" in error(SimpleNamespace())


def test_a_tokenizer_that_says_no_places_or_has_no_pad_is_refused() -> None:
    made = byte_tokenizer(texts())
    asked = word_model(made)

    class Slow:
        is_fast, padding_side, pad_token_id = False, "left", 0

        def __call__(self, *args: object) -> None:
            raise NotImplementedError

    asked.tokenizer = Slow()
    assert "its tokens stand (it is not a fast one)" in error(asked)
    asked.tokenizer = made
    asked.cfg.tokenizer_prepends_bos = None
    assert "give it one by model.set_tokenizer" in error(asked)
    asked.cfg.tokenizer_prepends_bos = True
    made.pad_token = None
    assert "has no pad token" in error(asked)


# Pads

LED = {
    "clean": [ONE["clean"][0].replace("After", when) for when in ("Later,", "Much later,")],
    "corrupt": [ONE["corrupt"][0].replace("After", when) for when in ("Later,", "Much later,")],
    "answers": [" Mary"] * 2,
    "foils": [" John"] * 2,
    "template": TEMPLATE.replace("After", "{when},"),
}


@pytest.mark.parametrize("kind", ["byte", "word"])
@pytest.mark.parametrize("bos", [True, False], ids=["bos", "no bos"])
def test_shorter_prompts_are_padded_left_and_answered_as_alone(kind: str, bos: bool) -> None:
    asked = model(kind, side="left", bos=bos)
    found = pairs(asked, **LED, pad="left")
    assert list(found.roles) == ["bos"] * bos + ["when1", "when2", ",", *IOI_ROLES[2:9], ",.2", *IOI_ROLES[10:]]
    assert found.clean[0, 0] == asked.tokenizer.pad_token_id
    assert torch.equal(found.clean[0, 1:], asked.to_tokens(LED["clean"][:1])[0])
    assert torch.equal(found.clean, asked.to_tokens(LED["clean"]))
    assert found.recipe["pad"] == "left"
    with torch.no_grad():
        padded = logits_at_answer(asked, found.clean, found.answer_position)
        alone = torch.stack([asked(asked.to_tokens(text))[0, -1] for text in LED["clean"]])
    torch.testing.assert_close(padded, alone, atol=1e-5, rtol=1e-5)


def test_padding_that_is_not_the_tokenizers_is_refused() -> None:
    assert "the model's tokenizer pads right: set model.tokenizer.padding_side" in error(**LED, pad="left")
    said = error(model(side="left"), **LED)
    assert "all prompts need one length" in said and "the slot {when} needs one number of tokens" in said
    assert pairs(model(side="left"), pad="left").key == pairs().key


# What follows


def test_effects_and_the_drawn_circuit_are_called_by_words() -> None:
    """The model of `worded` reads of two names which is repeated, with the heads of its first layer."""
    found = PromptPairs.from_text(model(), **WORDS.indirect_object(n=6, seed=1)._asdict())
    effects = analyses.path_patch(model(), found, progress=False)
    assert strongest(effects) == pytest.approx({"embed@S2 -> L0H0.v@S2": 1, "L0H0@to.2 -> logits@to.2": 1}, abs=0.1)
    html = circuits.draw(circuits.Circuit.from_effects(effects, top_k=2)).html
    assert set(re.findall(r'data-edge="([^"]+)"', html)) == {name.replace(">", "&gt;") for name in strongest(effects)}
    labels = re.findall(r'<text class="gs-role"[^>]*>([^<]+)</text>', html)
    assert labels == ["10 positions", "S2", "3 positions", "to.2"]
    (graph,) = circuits.draw(circuits.Circuit.from_effects(effects, top_k=2)).data["graphs"]
    assert graph["columns"] == IOI_ROLES


def test_padded_pairs_are_patched() -> None:
    asked = model(side="left")
    effects = analyses.path_patch(asked, pairs(asked, **LED, pad="left"), progress=False)
    assert strongest(effects) == pytest.approx({"embed@S2 -> L0H0.v@S2": 1, "L0H0@to.2 -> logits@to.2": 1}, abs=0.1)


def strongest(effects: analyses.PatchingResult) -> dict[str, float]:
    """The effects of the two edges that do most."""
    table = effects.table.nlargest(2, "effect")
    return dict(zip(table["sender"] + " -> " + table["receiver"], table["effect"], strict=True))


@pytest.mark.parametrize("name", WORDS.TASKS)
@pytest.mark.parametrize("kind", ["byte", "word"])
def test_the_examples_make_pairs(name: str, kind: str) -> None:
    make = WORDS.TASKS[name]
    made = make(n=20, seed=3)
    assert make(n=20, seed=3) == made != make(n=20, seed=4)
    assert len(set(zip(*made[:4], strict=True))) == 20
    found = PromptPairs.from_text(model(kind), **made._asdict())
    assert len(found) == 20 and found.roles[0] == "bos"
    differ = {role for role, each in zip(found.roles, (found.clean != found.corrupt).any(0), strict=True) if each}
    years = {"start2"} if kind == "byte" else {"start"}
    assert differ == {"indirect object": {"S2"}, "greater than": years, "argument names": {"third", "fourth"}}[name]


def test_the_examples_answers_are_right() -> None:
    for clean, corrupt, answer, foil in zip(*WORDS.indirect_object(n=50, seed=0)[:4], strict=True):
        assert clean.count(answer) == 1 == corrupt.count(foil) and clean.count(foil) == 2 == corrupt.count(answer)
    for clean, corrupt, answer, foil in zip(*WORDS.greater_than(n=50, seed=0)[:4], strict=True):
        began, before = (int(re.findall(r"\d{4}", text)[0]) for text in (clean, corrupt))
        ends, wrong = (int(clean[-2:] + each) for each in (answer, foil))
        assert before < wrong < began < ends
    for clean, corrupt, answer, foil in zip(*WORDS.argument_names(n=50, seed=0)[:4], strict=True):
        for prompt, expected in ((clean, answer), (corrupt, foil)):
            names = re.findall(r"\w+", prompt.split(":")[0])[2:]
            assert f" {names[prompt.count(':param') - 1]}" == expected


def test_examples_refuse_what_cannot_be_drawn() -> None:
    for make in WORDS.TASKS.values():
        with pytest.raises(ValueError, match=r"n is 0.*seed is -1"):
            make(n=0, seed=-1)
    with pytest.raises(ValueError, match="years are 3, needed are at least 4; years must be of one century"):
        WORDS.greater_than(years=[1699, 1700, 1701])
    with pytest.raises(ValueError, match="n is 9, and of 900 draws only 8 pairs are different"):
        WORDS.greater_than(n=9, years=range(1702, 1706))


def test_the_docs_example_runs() -> None:
    block, *_ = [each for each in python_blocks(ROOT / "docs" / "how-to" / "padding.md") if "from_text(" in each]
    names: dict[str, Any] = {"model": model(), "PromptPairs": PromptPairs, "analyses": analyses}
    exec(compile(block, "padding.md", "exec"), names)
    assert list(names["pairs"].roles) == IOI_ROLES
