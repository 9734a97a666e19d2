"""The forward pass that training takes against that of the HookedTransformer, values and gradients."""

import pytest
import torch
from torch.nn.functional import cross_entropy

from grokscope.tasks import IDENTITY, NATURAL, ModelConfig, Supervision, TwoHopTask, build_model
from grokscope.tasks.models.fast_forward import _shared_rows, answer_logits
from grokscope.tasks.models.prefixes import distinct_prefixes
from grokscope.tasks.models.transformer import load_parameters, tied_forward, trained_parameters
from grokscope.tasks.training.batches import training_examples


def random_config(seed: int, *, bidirectional: bool) -> ModelConfig:
    generator = torch.Generator().manual_seed(seed)

    def pick(*choices: int) -> int:
        return choices[int(torch.randint(len(choices), (1,), generator=generator))]

    n_heads = pick(1, 2, 3)
    return ModelConfig(
        d_model=n_heads * pick(4, 8),
        n_heads=n_heads,
        n_blocks=pick(1, 2, 3),
        n_loops=pick(1, 2, 4),
        mlp_ratio=pick(1, 4),
        tie_embeddings=bool(pick(0, 1)),
        bidirectional=bidirectional,
        positions=("learned", "rotary")[seed % 2],
        carries=("state", "state and token")[pick(0, 1)],
    )


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-9)])
@pytest.mark.parametrize(
    ("layout", "bidirectional", "supervision", "seed"),
    [("compact", False, each, seed) for each in (NATURAL, IDENTITY) for seed in range(20)]
    + [("slots", bidirectional, NATURAL, seed) for bidirectional in (False, True) for seed in range(10)]
    + [("slots", bidirectional, IDENTITY, seed) for bidirectional in (False, True) for seed in range(2)],
)
def test_loss_and_gradients_equal_those_of_the_hooked_transformer(
    task: TwoHopTask,
    layout: str,
    bidirectional: bool,
    supervision: Supervision,
    seed: int,
    dtype: torch.dtype,
    tolerance: float,
) -> None:
    task = task.with_layout(layout).with_supervision(supervision)
    config = random_config(seed, bidirectional=bidirectional)
    generator = torch.Generator().manual_seed(seed)
    model = build_model(config, task).to(dtype)
    parameters = trained_parameters(model, config)
    with torch.no_grad():
        for parameter in parameters.values():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator, dtype=dtype))
    load_parameters(model, config, parameters)
    examples = training_examples(task)
    rows = torch.randperm(len(examples.tokens), generator=generator)[:50]
    least = examples.positions.min()
    rows = torch.cat([rows, *((examples.positions == least + more).nonzero()[:5, 0] for more in (0, 1))])
    tokens, answers, positions = examples.tokens[rows], examples.answers[rows], examples.positions[rows]
    assert len(positions.unique()) == (2 if supervision == NATURAL else 3)  # zero-hop, atomic and two-hop

    def loss_and_gradients(logits: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        loss = cross_entropy(logits, answers, label_smoothing=0.1)
        return loss, list(torch.autograd.grad(loss, list(parameters.values())))

    slow, slow_gradients = loss_and_gradients(tied_forward(model, config, tokens)[torch.arange(len(rows)), positions])
    fast, fast_gradients = loss_and_gradients(answer_logits(parameters, config, tokens, positions))
    assert abs(fast - slow) <= tolerance * abs(slow)
    largest = max(gradient.norm() for gradient in slow_gradients)
    for name, here, there in zip(parameters, fast_gradients, slow_gradients, strict=True):
        # gradients that all but cancel (b_K's is zero by algebra) are rounding noise of the large ones
        scale = max(there.norm(), 1e-3 * largest)
        assert (here - there).norm() <= tolerance * scale, name


def test_each_prefix_is_found_once() -> None:
    tokens = torch.tensor([[3, 7, 8], [3, 7, 9], [1, 7, 8], [3, 8, 8], [3, 7, 8]])
    first, second, third = distinct_prefixes(tokens, torch.tensor([2, 2, 1, 1, 2]))
    assert first.tokens.tolist() == [1, 3] and len(second.tokens) == 3 and third.tokens.tolist() == [8, 9, 8]
    again = torch.stack([first.tokens[second.before[0]], second.tokens], dim=1)[second.of_prompt]
    assert again.tolist() == tokens[:, :2].tolist()
    whole = torch.stack([first.tokens[third.before[0]], second.tokens[third.before[1]], third.tokens], dim=1)
    assert whole.tolist() == tokens[[0, 1, 4]].tolist()


def test_the_padding_of_atomic_prompts_is_ignored(task: TwoHopTask) -> None:
    config = ModelConfig.tiny()
    parameters = trained_parameters(build_model(config, task), config)
    examples = training_examples(task)
    rows = (examples.positions == 1).nonzero()[:20, 0]
    tokens, positions = examples.tokens[rows].clone(), examples.positions[rows]
    before = answer_logits(parameters, config, tokens, positions)
    tokens[:, 2] = torch.arange(20)
    assert torch.equal(answer_logits(parameters, config, tokens, positions), before)


def test_bfloat16_is_near(task: TwoHopTask) -> None:
    config = ModelConfig.small()
    parameters = trained_parameters(build_model(config, task, seed=1), config)
    with torch.no_grad():
        for parameter in parameters.values():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0)))
    examples = training_examples(task)
    exact = answer_logits(parameters, config, examples.tokens[:300], examples.positions[:300])
    rough = answer_logits(parameters, config, examples.tokens[:300], examples.positions[:300], dtype=torch.bfloat16)
    assert 0 < (rough - exact).norm() / exact.norm() < 0.02


def test_prompts_answered_at_the_first_token_are_read_at_their_head(task: TwoHopTask) -> None:
    """Whatever follows it, and next to prompts with the same head."""
    config = ModelConfig.tiny()
    model = build_model(config, task, seed=1)
    parameters = trained_parameters(model, config)
    with torch.no_grad():
        for parameter in parameters.values():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0)))
    load_parameters(model, config, parameters)
    tokens, positions = training_examples(task).tokens[:9], torch.tensor([0, 1, 2] * 3)
    wanted = tied_forward(model, config, tokens)[torch.arange(9), positions]
    torch.testing.assert_close(answer_logits(parameters, config, tokens, positions), wanted, rtol=1e-4, atol=1e-5)
    alone = tied_forward(model, config, tokens[:, :1])[:, 0]
    at_head = answer_logits(parameters, config, tokens, torch.zeros(9, dtype=torch.long))
    torch.testing.assert_close(at_head, alone, rtol=1e-4, atol=1e-5)


def test_prompts_without_a_zero_hop_question_have_the_rows_they_had(task: TwoHopTask) -> None:
    """As rows were before there were such questions: heads, (h, r1), then r2 of each two-hop prompt."""
    examples = training_examples(task)
    chosen = torch.randperm(len(examples.tokens), generator=torch.Generator().manual_seed(0))[:200]
    tokens, positions = examples.tokens[chosen], examples.positions[chosen]
    pairs = sorted({(h, r1) for h, r1, _ in tokens.tolist()})
    heads = sorted({h for h, _ in pairs})
    two_hop = [row for row, position in enumerate(positions.tolist()) if position == 2]
    rows = _shared_rows(tokens, positions)
    assert rows.tokens.tolist() == [*heads, *(r1 for _, r1 in pairs), *tokens[two_hop, 2].tolist()]
    assert rows.positions.tolist() == [0] * len(heads) + [1] * len(pairs) + [2] * len(two_hop)
    wanted = [len(heads) + pairs.index((h, r1)) for h, r1, _ in tokens.tolist()]
    for place, row in enumerate(two_hop):
        wanted[row] = len(heads) + len(pairs) + place
    assert rows.answers.tolist() == wanted and 0 < len(two_hop) < 200
