"""Prompt pairs from texts: tokens, positions that mean the same in all prompts, roles in words."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch

from ...circuits.arguments import choice_problems, refuse, shortly
from .template import filled, parts_of, template_problems, words_of
from .tokenised import Prompts, Tokenised, next_token, tokenised, tokeniser_problems, unknown_problems, why_not_one
from .validity import context_problems, inputs_of, outputs_of, vocabulary_problems
from .word_roles import Label, labels_of, roles_of, slot_problems

SHOWN = 3  # pairs that an error shows


def pairs_of_text(model: Any, texts: Mapping[str, Any], template: str | None, pad: str | None) -> dict[str, Any]:
    """What `PromptPairs` is made of, see `PromptPairs.from_text`."""
    refuse(_setting_problems(model, texts, template, pad))
    sides = {side: [tokenised(model, text) for text in texts[side]] for side in ("clean", "corrupt")}
    couples = zip(sides["clean"], sides["corrupt"], strict=True)
    prompts = [(f"pair {n}, {s}", each) for n, couple in enumerate(couples) for s, each in zip(sides, couple, strict=True)]
    lengths = Counter(len(each) for _, each in prompts)
    n_pos = max(lengths) if pad else lengths.most_common(1)[0][0]
    usual = next(n for n, (_, each) in enumerate(prompts) if len(each) == n_pos)
    labels, problems = _labels(model, prompts, template, usual, padded=bool(pad))
    answers, no_answers = _answers(model, texts, sides)
    problems = ([] if pad else _length_problems(prompts, model, n_pos)) + problems + no_answers
    problems += unknown_problems(model, prompts) + _same_problems(sides, answers) + _model_problems(model, prompts, answers)
    if problems:
        raise ValueError("these texts make no prompt pairs: " + "; ".join(problems))
    padding = model.tokenizer.pad_token_id
    rows = {side: [[padding] * (n_pos - len(each)) + list(each.tokens) for each in sides[side]] for side in sides}
    columns = {name: torch.tensor(given, dtype=torch.long, device="cpu") for name, given in (rows | answers).items()}
    recipe = {name: value for name, value in (("template", template), ("pad", pad)) if value is not None}
    return columns | {"roles": roles_of(labels[usual]), "recipe": recipe}


def _setting_problems(model: Any, texts: Mapping[str, Any], template: Any, pad: Any) -> list[str]:
    """What is wrong before anything is tokenised."""
    wrong = {name: given for name, given in texts.items() if not _are_texts(given)}
    problems = [
        f"{name} is {shortly(given)}, needed are texts, none of them empty, as in {name}=['{_EXAMPLES[name]}']"
        for name, given in wrong.items()
    ]
    sizes = {name: len(given) for name, given in texts.items() if name not in wrong}
    if len(set(sizes.values())) > 1:
        said = ", ".join(f"{size} in {name}" for name, size in sizes.items())
        problems.append(f"each pair has one text of every kind, there are {said}")
    problems += [] if template is None else template_problems(template)
    pads = [] if pad is None else choice_problems(pad=(pad, ("left",)))
    unasked = tokeniser_problems(model)
    if pad == "left" and not unasked and model.tokenizer.padding_side != "left":
        side = model.tokenizer.padding_side
        pads = [f"pad='left', but the model's tokenizer pads {side}: set model.tokenizer.padding_side = 'left' first"]
    return problems + pads + unasked


_EXAMPLES = {
    "clean": "Ann and Bo met, and Bo gave a pen to",
    "corrupt": "Ann and Bo met, and Ann gave a pen to",
    "answers": " Ann",
    "foils": " Bo",
}


def _are_texts(given: Any) -> bool:
    if isinstance(given, str) or not isinstance(given, Sequence) or not given:
        return False
    return all(isinstance(text, str) and text and _can_be_encoded(text) for text in given)


def _can_be_encoded(text: str) -> bool:
    """Whether it has no half of a surrogate pair, which tokenizers refuse with another message."""
    return text.encode(errors="ignore").decode() == text


# Lengths


def _length_problems(prompts: Prompts, model: Any, usual: int) -> list[str]:
    """Pairs that are not as long as most prompts, with their tokens."""
    wrong = [n for n in range(0, len(prompts), 2) if {len(each) for _, each in prompts[n : n + 2]} != {usual}]
    if not wrong:
        return []
    lines = [f"\n  {name}, {len(each)} tokens: {each}" for n in wrong[:SHOWN] for name, each in prompts[n : n + 2]]
    hint = "; pad='left' would pad the shorter ones" if model.tokenizer.padding_side == "left" else ""
    of = f"{len(wrong)} of {len(prompts) // 2} pairs are" if len(wrong) > 1 else f"1 of {len(prompts) // 2} pairs is"
    return [
        f"all prompts need one length, most have {usual} tokens, and {of} at fault{hint}" + "".join(lines) + _more(wrong)
    ]


# Positions


def _labels(
    model: Any, prompts: Prompts, template: str | None, usual: int, *, padded: bool
) -> tuple[list[list[Label]], list[str]]:
    """What each token of each prompt stands for, and why positions cannot be called by that."""
    parts = None if template is None else parts_of(template)
    pieces = [words_of(each.text) if parts is None else filled(parts, each.text) for _, each in prompts]
    if unfit := [n for n, found in enumerate(pieces) if isinstance(found, str)]:
        lines = [f"\n  {prompts[n][0]}, {prompts[n][1].text!r}, {pieces[n]}" for n in unfit[:SHOWN]]
        return [], [
            f"{len(unfit)} of {len(prompts)} prompts do not fit template={template!r}" + "".join(lines) + _more(unfit)
        ]
    fits = [found for found in pieces if not isinstance(found, str)]
    bos = model.tokenizer.bos_token_id
    labels = [labels_of(each, found, bos) for (_, each), found in zip(prompts, fits, strict=True)]
    slots = [part.text for part in parts or () if part.is_slot]
    return labels, [] if parts is None else slot_problems(prompts, labels, slots, usual, padded=padded)


# Answers


def _answers(
    model: Any, texts: Mapping[str, Sequence[str]], sides: Mapping[str, Sequence[Tokenised]]
) -> tuple[dict[str, list[int]], list[str]]:
    """The tokens of answers and foils, −1 for what is none, and which texts are not one token."""
    found: dict[str, list[int]] = {}
    problems = []
    for name, side in (("answers", "clean"), ("foils", "corrupt")):
        asked = list(zip(sides[side], texts[name], strict=True))
        tokens = [next_token(model, prompt, text) for prompt, text in asked]
        wrong = {text: prompt for token, (prompt, text) in zip(tokens, asked, strict=True) if token is None}
        if wrong:
            lines = [f"\n  {text!r}: {why_not_one(model, prompt, text)}" for text, prompt in list(wrong.items())[:SHOWN]]
            problems.append(f"{name} are one token each, these are not" + "".join(lines) + _more(wrong))
        found[name] = [-1 if token is None else token for token in tokens]
    return found, problems


# Pairs


def _same_problems(sides: Mapping[str, Sequence[Tokenised]], answers: Mapping[str, Sequence[int]]) -> list[str]:
    """Pairs that do not differ."""
    columns = {
        "clean and corrupt prompt": [[each.tokens for each in prompts] for prompts in sides.values()],
        "answer and foil": [answers["answers"], answers["foils"]],
    }
    problems = []
    for what, (ones, others) in columns.items():
        same = [n for n, (one, other) in enumerate(zip(ones, others, strict=True)) if one == other != -1]
        if same:
            n = same[0]
            problems.append(f"{what} are the same in {len(same)} of {len(ones)} pairs, the first is pair {n}")
    return problems


def _model_problems(model: Any, prompts: Prompts, answers: Mapping[str, Sequence[int]]) -> list[str]:
    """What the model's vocabularies and its context lack."""
    most = max(len(each) for _, each in prompts)
    read = torch.tensor([token for _, each in prompts for token in each.tokens], dtype=torch.long, device="cpu")
    said = {n: torch.tensor([t for t in row if t >= 0], dtype=torch.long, device="cpu") for n, row in answers.items()}
    problems = vocabulary_problems({"a token of the prompts": read}, inputs_of(model.cfg)) + context_problems(
        most, model.cfg
    )
    return problems + vocabulary_problems(said, outputs_of(model.cfg))


def _more(wrong: Collection[Any]) -> str:
    return f"\n  and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
