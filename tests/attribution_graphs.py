"""Attribution graphs as files hold them, small and of made-up numbers, and what Neuronpedia asks of such a file.

The keys and their values are those of files that circuit-tracer and Neuronpedia wrote, such as circuit-tracer's own example
(decoderesearch/circuit-tracer, `tests/fixtures/graphs/123-gemma-3-1b-pt-gemmascope2-16k.json`, commit e1a5b03c) and what
Neuronpedia makes of attention features (hijohnnylin/neuronpedia, `apps/graph/neuronpedia_graph/format_converter.py`, commit
ebb8426f).
"""

import json
import re
from pathlib import Path
from typing import Any

Content = dict[str, Any]


def by_circuit_tracer() -> Content:
    """As circuit-tracer writes it: features of two layers, what they leave out, tokens, candidates for the next one."""
    nodes = [
        feature("0_391_1", 77027, activation=81.5, influence=0.34),
        feature("0_103_3", 5459, activation=190.0, influence=0.31),
        feature("2_14696_1", 108037647, activation=37.25, influence=0.39),
        node("2_-1_3", -1, "2", "mlp reconstruction error", js="2_-1-3", influence=0.47),
        node("E_2_0", 0, "E", "embedding", js="E_2-0", influence=0.09),
        node("E_236770_1", 1, "E", "embedding", js="E_236770-1", influence=0.19),
        node("E_236778_2", 2, "E", "embedding", js="E_236778-2", influence=0.25),
        node("E_236800_3", 3, "E", "embedding", js="E_236800-3", influence=0.15),
        logit("4_236812_3", "4", 0.328125, first=True),
        logit("4_236771_3", " capital\n", 0.0830078125),
    ]
    links = [
        ("E_2_0", "0_391_1", 8.1875),
        ("E_236770_1", "0_391_1", -30.5),
        ("E_236800_3", "0_103_3", 440.0),
        ("0_391_1", "2_14696_1", 4.96875),
        ("2_14696_1", "4_236812_3", 0.22),
        ("0_103_3", "4_236812_3", -1.234375),
        ("2_-1_3", "4_236771_3", 1.625),
        ("E_236778_2", "4_236771_3", 0.5),
    ]
    metadata = {
        "slug": "small-123",
        "scan": "gemma-3-1b",
        "transcoder_list": [],
        "prompt_tokens": ["<bos>", "1", " two", "\n"],
        "prompt": "<bos>1 two\n",
        "node_threshold": 0.5,
        "schema_version": 1,
        "info": {"creator_name": "somebody", "generator": {"name": "circuit-tracer", "version": "1"}, "create_time_ms": 1},
        "generation_settings": {"max_n_logits": 5, "desired_logit_prob": 0.6},
        "pruning_settings": {"node_threshold": 0.5, "edge_threshold": 0.8},
    }
    view = {"pinnedIds": [], "supernodes": [], "linkType": "both", "clickedId": "", "sg_pos": ""}
    return {"metadata": metadata, "qParams": view, "nodes": nodes, "links": as_links(links)}


def with_attention() -> Content:
    """As Neuronpedia writes it with attention features: no saved view, layers as numbers, other keys, nodes apart."""
    tracing: Content = {"pair_wise_contributors": [["E_5_0", "E_5_0", 0.5]], "top_q_marginal_contributors": []}
    tracing["top_k_marginal_contributors"] = [["0_cro_1_0", 0.25]]
    shared = {"ctx_idx": 1, "activation": 2.5, "influence": 0.5}
    lorsa = {"node_id": "1_lor_7_1", "jsNodeId": "1_lor_7_1", "feature": 43, "feature_type": "lorsa", "layer": 1}
    clt = {
        "node_id": "1_cro_7_1",
        "jsNodeId": "1_cro_7_1",
        "feature": 43,
        "feature_type": "cross layer transcoder",
        "layer": 1,
    }
    nodes = [
        {"node_id": "E_5_0", "jsNodeId": "E_5_0", "feature": None, "feature_type": "embedding", "layer": "E", "ctx_idx": 0,
         "clerp": 'Emb: "a"', "token": "a", "activation": None, "influence": 0.1},
        {**lorsa, **shared, "clerp": "F43", "qk_tracing_results": tracing},
        {**clt, **shared, "clerp": "F43"},
        *[{"node_id": f"1_error_{part}_1", "jsNodeId": f"1_error_{part}_1", "feature": None, "feature_type": kind,
           "layer": 1, "ctx_idx": 1, "clerp": f'Err: {part} "b"', "activation": None, "influence": 0.9}
          for part, kind in (("attn", "lorsa error"), ("mlp", "mlp reconstruction error"))],
        *[{"node_id": f"1_bias_{part}_1", "jsNodeId": f"1_bias_{part}_1", "feature": None, "feature_type": "bias",
           "layer": 1, "ctx_idx": 1, "clerp": f"L1 Bias ({part})", "activation": None} for part in ("attn_bO", "mlp_bout")],
        {"node_id": "2_9_1", "jsNodeId": "2_9_1", "feature": 9, "feature_type": "logit", "layer": 2, "ctx_idx": 1,
         "clerp": 'Logit "c" (p=0.250)', "token_prob": 0.25, "token": "c", "activation": None, "influence": 0.0},
    ]  # fmt: skip
    metadata = {"slug": "lorsa", "scan": "llama", "prompt_tokens": ["a", "b"], "prompt": "ab", "schema_version": 1}
    links = [("E_5_0", "1_lor_7_1", 0.5), ("1_lor_7_1", "1_cro_7_1", 1.5), ("1_cro_7_1", "2_9_1", -2.0)]
    apart = {"0_cro_1_0": {**clt, "node_id": "0_cro_1_0", "ctx_idx": 0, "clerp": "F1", "activation": 0.5}}
    return {
        "metadata": metadata, "qParams": {}, "nodes": nodes, "links": as_links(links), "qk_only_nodes": apart
    }  # fmt: skip


def node(name: str, number: int, layer: str, kind: str, *, js: str, label: str = "", **more: Any) -> Content:
    """One as circuit-tracer writes it."""
    common = {"token_prob": 0.0, "is_target_logit": False, "run_idx": 0, "reverse_ctx_idx": 0}
    place = {"node_id": name, "feature": number, "layer": layer, "ctx_idx": int(name.rsplit("_")[-1]), "feature_type": kind}
    return {**place, **common, "jsNodeId": js, "clerp": label, "influence": None, "activation": None} | more


def feature(name: str, number: int, **more: Any) -> Content:
    layer, index, _ = name.split("_")
    return node(name, number, layer, "cross layer transcoder", js=f"{layer}_{index}-0", **more)


def logit(name: str, word: str, probability: float, *, first: bool = False) -> Content:
    layer, token, place = name.split("_")
    label = f'Output "{word}" (p={probability:.3f})'
    more = {"token_prob": probability, "is_target_logit": first}
    return node(name, int(token), layer, "logit", js=f"L_{token}-{place}", label=label, **more)


def as_links(links: list[tuple[str, str, float]]) -> list[Content]:
    return [dict(zip(("source", "target", "weight"), link, strict=True)) for link in links]


def written(path: Path, content: Any) -> Path:
    path.write_text(json.dumps(content))
    return path


NUMBER, WHOLE, NONE = (int, float), (int,), type(None)
NAMED = {"node_id!": str, "layer!": (str, int), "ctx_idx!": WHOLE, "feature_type!": str, "jsNodeId!": str, "clerp!": str}
NODE = {**NAMED, "activation": (*NUMBER, NONE)}
TRACED = ("pair_wise_contributors!", "top_q_marginal_contributors!", "top_k_marginal_contributors!")
INFO = {
    **dict.fromkeys(("description", "creator_name", "creator_url"), str),
    **{"source_urls": [Any], "create_time_ms": NUMBER, "generator": dict.fromkeys(("name", "version", "url", "email"), str)},
}
SCHEMA: Content = {
    "metadata!": {
        **{"slug!": str, "scan!": str, "prompt_tokens!": [str], "prompt!": str, "node_threshold": NUMBER, "info": INFO},
        "feature_details": dict.fromkeys(
            ("feature_json_base_url", "neuronpedia_source_set", "neuronpedia_lorsa_source_set"), str
        ),
        "generation_settings": {
            **dict.fromkeys(("max_n_logits", "batch_size", "max_feature_nodes"), WHOLE),
            "desired_logit_prob": NUMBER,
        },
        "pruning_settings": dict.fromkeys(("node_threshold", "edge_threshold"), NUMBER),
    },
    "qParams!": {"pinnedIds": [str], "supernodes": [Any], "linkType": str, "clickedId": str, "sg_pos": str},
    "nodes!": [
        {
            **NODE,
            **{"feature!": (*WHOLE, NONE), "influence": (*NUMBER, NONE)},
            "qk_tracing_results": {key: [[Any]] for key in TRACED},
        }
    ],
    "links!": [{"source!": str, "target!": str, "weight!": NUMBER}],
    "qk_only_nodes": {"*": {**NODE, "feature": (*WHOLE, NONE)}},
}
"""Keys and their types, needed ones with "!", those of any name as "*". Other keys may be there.

Source: hijohnnylin/neuronpedia, `apps/webapp/app/api/graph/graph-schema.json`, commit 3c068b76.
"""
TAKEN = re.compile(r"[A-Za-z0-9_.-]*")
"""A slug or scan that can be uploaded: `apps/webapp/app/api/graph/save-to-db/route.ts` there, commit ebb8426f."""


def breaches(content: Any) -> list[str]:
    """Where a file is not as Neuronpedia's schema says; else where it cannot be uploaded or its page does not show it."""
    return _breaches(content, SCHEMA, "it") or _unshown(content)


def _breaches(value: Any, kind: Any, where: str) -> list[str]:
    if kind is Any:
        return []
    if isinstance(kind, list) and isinstance(value, list):
        return [problem for n, each in enumerate(value) for problem in _breaches(each, kind[0], f"{where}[{n}]")]
    if isinstance(kind, dict) and isinstance(value, dict):
        types = dict.fromkeys(value, kind["*"]) if "*" in kind else {key.rstrip("!"): each for key, each in kind.items()}
        found = [f"{where} lacks {key[:-1]}" for key in kind if key.endswith("!") and key[:-1] not in value]
        there = [key for key in types if key in value]
        return found + [problem for key in there for problem in _breaches(value[key], types[key], f"{where}.{key}")]
    is_one = not isinstance(kind, list | dict) and isinstance(value, kind) and not isinstance(value, bool)
    return [] if is_one else [f"{where} is {value!r}"]


def _unshown(content: Any) -> list[str]:
    """What is refused, fails or is left out: also `apps/webapp/app/[modelId]/graph/utils.ts` there, commit ebb8426f."""
    metadata, ids = content["metadata"], [each["node_id"] for each in content["nodes"]]
    found = [f"{name} is {metadata[name]}" for name in ("slug", "scan") if not TAKEN.fullmatch(metadata[name])]
    found += [f"{name} is that of several nodes" for name in set(ids) if ids.count(name) > 1]
    found += [f"{each} leads to no node" for each in content["links"] if not {each["source"], each["target"]} <= set(ids)]
    labels = [each["clerp"] for each in content["nodes"] if each["feature_type"] == "logit"]
    found += [f"{label} is without (p=" for label in labels if label and "(p=" not in label]
    n = len(metadata["prompt_tokens"])
    return found + [f"{each['node_id']} is at no token" for each in content["nodes"] if not 0 <= each["ctx_idx"] < n]
