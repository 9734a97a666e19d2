"""The rules of the house. Each takes a module, or all of them, and returns the breaches."""

import ast
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

PACKAGES = ("tasks", "circuits", "analyses")
SIBLINGS = {"tasks": set(), "circuits": set(), "analyses": {"tasks", "circuits"}}
STOREYS = {
    "analyses": (
        "statistics",
        "bounds",
        "plots",
        "page",
        "forward",
        "patching",
        "training",
        "bridge",
        "edits",
        "sameness",
        "validity",
        "claims",
        "study",
        "face",
    ),
    "tasks": (
        "rotary",
        "hooked_config",
        "hooked_layers",
        "hooked_transformer",
        "transformerlens",
        "printing",
        "questions",
        "models",
        "runs",
        "training",
        "face",
    ),
}
TRANSFORMERLENS = (
    "hooked_config",
    "hooked_layers",
    "hooked_transformer",
    "transformerlens",
)  # tasks/: the library, whichever version is installed
SHARED = (  # files, progress, interrupts, workers, what records print, equality, refusals; nothing that knows more
    ("circuits", "writing"),
    ("circuits", "documents"),
    ("circuits", "manifest"),
    ("circuits", "tensor_files"),
    ("circuits", "lock"),
    ("circuits", "plain_text"),
    ("circuits", "card"),
    ("circuits", "same_content"),
    ("circuits", "figure_text"),
    ("circuits", "figure_look"),
    ("circuits", "arguments"),
    ("circuits", "destination"),
    ("circuits", "roles"),
    ("circuits", "hashes"),
    ("circuits", "interrupts"),
    ("circuits", "progress"),
    ("circuits", "workers"),
)
ALONE = ("plots", "page")  # import no other room of analyses/
MOST_LINES = 400
_MAKERS = (
    "arange as_tensor asarray empty eye full linspace normal ones rand randint randn randperm scalar_tensor tensor zeros"
)
MAKE_TENSORS = {f"torch.{name}" for name in _MAKERS.split()}
RUNS_CODE = (
    "pickle",
    "_pickle",
    "cPickle",
    "cloudpickle",
    "dill",
    "builtins",
    "marshal",
    "shelve",
    "yaml",
    "ruamel",
    "code",
)
READS_CODE = {"eval", "exec", "compile", "__import__", "read_pickle", "to_pickle", "runpy", "fromregex", "unsafe_load"}
READS_CODE_IF = {"load"}
LIGHT = ("torch", "transformer_lens", "plotly", "scipy")  # what circuits must not import


class Module(NamedTuple):
    """A module of the library: its path from the repository's root, e.g. `analyses/forward/model.py`, and its source."""

    path: Path
    source: str

    @property
    def package(self) -> str:
        return self.path.parts[0]

    @property
    def room(self) -> str:
        """The folder, or the name of a module that is a room by itself; the rest at the top is the face."""
        if len(self.path.parts) > 2:
            return self.path.parts[1]
        return self.path.stem if self.path.stem in STOREYS.get(self.package, ()) else "face"

    @property
    def imports(self) -> list[tuple[str, ...]]:
        """What it imports, wherever in the module, as absolute names: ("analyses", "forward", "model")."""
        found = []
        for node in ast.walk(ast.parse(self.source)):
            if isinstance(node, ast.Import):
                found += [tuple(alias.name.split(".")) for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                above = ("grokscope", *self.path.parent.parts)
                start = above[: len(above) - node.level + 1] if node.level else ()
                target = start + tuple((node.module or "").split(".") if node.module else ())
                found += [(*target, alias.name) for alias in node.names]
        return [name[1:] if name[0] == "grokscope" else name for name in found]

    @property
    def absolute(self) -> list[str]:
        """What it imports as `grokscope…`."""
        nodes = list(ast.walk(ast.parse(self.source)))
        found = [node.module or "" for node in nodes if isinstance(node, ast.ImportFrom) and not node.level]
        found += [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
        return [name for name in found if name.split(".")[0] == "grokscope"]


Rule = Callable[[Module], list[str]]


def modules(root: Path) -> Iterator[Module]:
    """Every module of the library, at any depth."""
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            yield Module(path.relative_to(root), path.read_text())


def siblings_one_way(module: Module) -> list[str]:
    """Packages import each other in one direction, and relatively."""
    allowed = SIBLINGS[module.package] | {module.package}
    others = [name for name in module.imports if name[:2] not in SHARED]
    wrong = [".".join(name) for name in others if name[0] in PACKAGES and name[0] not in allowed]
    return [f"imports {name}" for name in wrong] + [f"imports {name}, not relatively" for name in module.absolute]


def nothing_back_up(module: Module) -> list[str]:
    """A room imports only from itself and the storeys below; plots and page only from themselves."""
    if module.package not in STOREYS:
        return []
    order, found = STOREYS[module.package], []
    if module.room not in order:
        return [f"is in the folder {module.room}, which is no storey"]
    for name in module.imports:
        if name[0] != module.package:
            continue
        room = name[1] if len(name) > 1 and name[1] in order else "face"
        above = order.index(room) > order.index(module.room)
        if above or (module.room in ALONE and room != module.room):
            found.append(f"{module.room} imports {'.'.join(name)}")
    return found


def circuits_flat(module: Module) -> list[str]:
    """circuits/ has no rooms and, wherever in a module, no torch."""
    if module.package != "circuits":
        return []
    found = ["lies in a folder"] if len(module.path.parts) > 2 else []
    return found + [f"imports {name[0]}" for name in module.imports if name[0] in ("torch", "transformer_lens")]


def no_import_by_name(module: Module) -> list[str]:
    """Imports are statements, so that these rules can see them."""
    by_name = [name for name in module.imports if name[0] == "importlib" and name[1:2] != ("metadata",)]
    return [f"imports {'.'.join(name)}" for name in by_name]


def weights_in_their_rooms(module: Module) -> list[str]:
    """Weights and hook points are named where models are built and run only."""
    if module.path.parts[:2] in {("analyses", "forward"), ("tasks", "models")} or module.room in TRANSFORMERLENS:
        return []
    weights = r"\b[Wb]_(?:[A-Z]|in|out|gate|pos|E_pos)\b|[\"']W_?[\"']"
    parts = r"\.(?:ln1|ln2|ln_final|mlp|attn|blocks|embed|pos_embed|unembed)\b|\bblocks\.[\d{]|[\"']blocks[\"']"
    names = "|".join([weights, parts, r"\bhook_\w+", r"\brun_with_(?:hooks|cache)\b", r"\badd_hook\b"])
    return [f"names {match}" for match in sorted(set(re.findall(names, module.source)))]


MODEL_CLASSES = ("at_rest", "bridge_attention", "bridge_flow", "bridged", "model")


def no_word_of_a_task(module: Module) -> list[str]:
    """forward/ and patching/ know neither an intermediate nor a task; of tasks they import how pads are read, what
    can be asked and what a model is, and patching/ prompt pairs. A TransformerBridge is no intermediate.
    """
    if module.package != "analyses" or module.room not in ("forward", "patching"):
        return []
    of_models = module.room == "forward" and module.path.stem in MODEL_CLASSES
    words = ("" if of_models else "bridge|") + r"(?<![a-z0-9])r1(?![a-z0-9])|two_?hop"
    found = [f"says {match}" for match in re.findall(words, module.source, re.IGNORECASE)]
    allowed = {("tasks", "PromptPairs")} if module.room == "patching" else set()
    asked = {("questions", name) for name in ("arguments", "hooks", "padding", "validity")}
    asked |= {("models", "trm")}
    asked |= {("questions", "given_pairs")} if module.room == "patching" else set()
    imported = [
        name for name in module.imports if name[0] == "tasks" and name[1:3] not in asked and name[1] != "transformerlens"
    ]
    return found + [f"imports {'.'.join(name)}" for name in imported if name not in allowed]


def small(module: Module) -> list[str]:
    """No module is longer than `MOST_LINES`."""
    n_lines = module.source.count("\n")
    return [f"has {n_lines} lines, more than {MOST_LINES}"] if n_lines > MOST_LINES else []


def no_utils(module: Module) -> list[str]:
    """A module is named for its idea."""
    return [
        f"is called {part}" for part in map(str.lower, module.path.with_suffix("").parts) if re.search("util|helper", part)
    ]


def effects_through_the_seam(module: Module) -> list[str]:
    """What measures effects asks an engine and not its insides."""
    if module.path.parts[:2] != ("analyses", "patching") or module.path.stem == "attention":  # which needs patterns, too
        return []
    through = {("engine",), ("places",), ("lines",)}  # the last two need no model
    through |= {("composition",)}  # which is about weights and runs nothing
    inside = [name for name in module.imports if name[:2] == ("analyses", "forward")]
    return [f"imports {'.'.join(name)}" for name in inside if name[2:3] not in through]


def on_a_named_device(module: Module) -> list[str]:
    """Tensors are made where the code says, since torch's default device is the user's and may be another one."""
    calls = [node for node in ast.walk(ast.parse(module.source)) if isinstance(node, ast.Call)]
    made = [call for call in calls if ast.unparse(call.func) in MAKE_TENSORS]
    lacking = [call for call in made if not any(keyword.arg == "device" for keyword in call.keywords)]
    return [f"line {call.lineno}: {ast.unparse(call.func)} without a device" for call in lacking]


def runs_no_code_it_reads(module: Module) -> list[str]:
    """What is read is data: nothing that unpickles, and nothing that runs a text as code."""
    found = [f"imports {'.'.join(name)}" for name in module.imports if name[0] in RUNS_CODE or name == ("joblib", "load")]
    nodes = list(ast.walk(ast.parse(module.source)))
    names = [node for node in nodes if isinstance(node, ast.Name | ast.Attribute)]
    found += [f"line {node.lineno}: {ast.unparse(node)}" for node in names if _last(node) in READS_CODE]
    calls = [node for node in nodes if isinstance(node, ast.Call)]
    found += [
        f"line {call.lineno}: {ast.unparse(call)}" for call in calls if _last(call.func) in READS_CODE_IF and _if(call)
    ]
    return found


def _last(node: ast.expr) -> str:
    """The name that is called or named, without what it belongs to; pandas' and torch's `eval` are other things."""
    if isinstance(node, ast.Attribute) and node.attr not in ("eval", "compile"):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def _if(call: ast.Call) -> bool:
    """Whether a call may unpickle: joblib's, torch's unless it says that it reads weights only, numpy's if it says so."""
    said = {keyword.arg: getattr(keyword.value, "value", None) for keyword in call.keywords}
    if ast.unparse(call.func).startswith("torch."):
        return said.get("weights_only") is not True
    return (
        ast.unparse(call.func) == "joblib.load"
        or None in said
        or ("allow_pickle" in said and said["allow_pickle"] is not False)
    )


RULES: tuple[Rule, ...] = (
    siblings_one_way,
    nothing_back_up,
    circuits_flat,
    no_import_by_name,
    weights_in_their_rooms,
    no_word_of_a_task,
    small,
    no_utils,
    effects_through_the_seam,
    on_a_named_device,
    runs_no_code_it_reads,
)


def heavy(loaded: set[str]) -> list[str]:
    """Packages that must not be loaded by importing circuits."""
    return sorted(set(LIGHT) & loaded)
