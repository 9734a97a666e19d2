"""EAP of a bridge against TransformerLens 4's edge attribution, which shares nothing with it."""

import numpy as np
import pytest
import torch
from transformer_lens.model_bridge.sources._bridge_builder import build_bridge_from_module
from transformers import AutoConfig, AutoModelForCausalLM

from grokscope.analyses import edge_attribution
from grokscope.circuits import Edge
from grokscope.tasks import PromptPairs

theirs = pytest.importorskip("transformer_lens.tools.analysis.attribution_patching")
pytestmark = pytest.mark.transformerlens(4)  # 3.9 attributes to nodes alone
FAMILIES = {
    "gpt2": {"vocab_size": 31, "n_embd": 24, "n_layer": 2, "n_head": 3, "n_positions": 16},
    "gpt_neox": {
        "vocab_size": 31,
        "hidden_size": 24,
        "intermediate_size": 40,
        "num_hidden_layers": 2,
        "num_attention_heads": 3,
        "max_position_embeddings": 16,
    },
}
NAMES = {"q_input": "q", "k_input": "k", "v_input": "v"}


def ours_of(sender: object, receiver: object, roles: tuple[str, ...]) -> str:
    """The name of their edge here."""

    def name(node: object) -> str:
        where = f"@{roles[node.position]}"
        if node.kind in ("embed", "logits"):
            return node.kind + where
        if node.kind in ("mlp_in", "mlp_out"):
            return f"MLP{node.layer}{where}"
        entered = f".{NAMES[node.kind]}" if node.kind in NAMES else ""
        return f"L{node.layer}H{node.head}{entered}{where}"

    return str(Edge.parse(f"{name(sender)} -> {name(receiver)}"))


@pytest.mark.parametrize("family", FAMILIES)
def test_scores_are_those_of_transformerlens(family: str) -> None:
    torch.manual_seed(0)
    config = AutoConfig.for_model(family, **FAMILIES[family])
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
    with torch.no_grad():
        for values in model.parameters():
            values.normal_(0, 0.4)
    bridge = build_bridge_from_module(
        model, type(model).__name__, hf_config=config, tokenizer=None, dtype=torch.float32, device="cpu"
    ).eval()
    clean, corrupt = torch.randint(31, (2, 4, 5))
    answers, foils = torch.randint(31, (2, 4))
    roles = tuple("abcde")
    pairs = PromptPairs(clean, corrupt, answers, foils, roles=roles)
    result = edge_attribution(bridge, pairs, direction="denoising", per_query=True)
    found = dict(zip(map(str, result.graph.edges), result.deltas, strict=True))
    for row in range(4):  # one pair after the other, since their metric does not know which it is asked about
        metric = lambda logits, row=row: logits[0, -1, answers[row]] - logits[0, -1, foils[row]]  # noqa: E731
        scores = theirs.attribution_patch(
            bridge, clean[row : row + 1], corrupt[row : row + 1], metric, theirs.EdgeAttributionConfig(granularity="edge")
        ).edge_scores
        expected = {ours_of(*edge, roles): score for edge, score in scores.items()}
        names = [name for name in expected if name in found]
        assert set(names) == set(found), "every edge of ours is one of theirs"
        rest = [abs(score) for name, score in expected.items() if name not in found]
        scale = max(map(abs, expected.values()))
        assert max(rest, default=0.0) <= 1e-6 * scale, "what cannot matter has no score"
        wanted = np.array([expected[name] for name in names])
        np.testing.assert_allclose(np.array([found[name][row] for name in names]), wanted, rtol=1e-3, atol=1e-5 * scale)
