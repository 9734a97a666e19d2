"""What is learned: graphs, two-hop tasks, models, training runs and checkpoints."""

from .checkpoints import PHASES, Checkpoint, CheckpointError, Run
from .evaluation import exact_match, predictions
from .files import DataFolderError
from .graph import KnowledgeGraph
from .models import ModelConfig, build_model
from .pairs import CONTRASTS, PromptPairs, make_pairs
from .perturbations import PERTURBED_ROLES, perturb
from .published_transfer import published_new_facts
from .queries import Queries
from .shortcuts import shortcut_accuracy
from .study import Study, load_study
from .supervision import BOTH_HALF, BOTH_HOPS, FIRST_HOP, NATURAL, SECOND_HOP, Supervision
from .sweep import Job, grid, sweep
from .training import train
from .training_config import TrainConfig
from .transfer import CELLS, NewFacts
from .twohop import SPLITS, TwoHopTask

__all__ = [
    "BOTH_HALF",
    "BOTH_HOPS",
    "CELLS",
    "CONTRASTS",
    "FIRST_HOP",
    "NATURAL",
    "PERTURBED_ROLES",
    "PHASES",
    "SECOND_HOP",
    "SPLITS",
    "Checkpoint",
    "CheckpointError",
    "DataFolderError",
    "Job",
    "KnowledgeGraph",
    "ModelConfig",
    "NewFacts",
    "PromptPairs",
    "Queries",
    "Run",
    "Study",
    "Supervision",
    "TrainConfig",
    "TwoHopTask",
    "build_model",
    "exact_match",
    "grid",
    "load_study",
    "make_pairs",
    "perturb",
    "predictions",
    "published_new_facts",
    "shortcut_accuracy",
    "sweep",
    "train",
]
