from .models.building import build_model
from .models.config import ModelConfig
from .models.trm_config import TRMConfig
from .questions.comparison import ComparisonTask
from .questions.contrasts import Contrast
from .questions.donors import Donor, Donors
from .questions.editable import Editable
from .questions.evaluation import NO_TOKEN, exact_match, is_right, predictions, top_token
from .questions.files import DataFolderError
from .questions.graph import KnowledgeGraph
from .questions.khop import KHopTask
from .questions.kinds import TASK_KINDS
from .questions.pairing import CONTRASTS, make_pairs
from .questions.pairs import PromptPairs
from .questions.perturbations import PERTURBED_ROLES, perturb
from .questions.queries import Queries
from .questions.question_donors import QuestionDonors
from .questions.question_task import QuestionTask
from .questions.shortcuts import shortcut_accuracy, unsolved_by_shortcuts
from .questions.splits import SPLITS
from .questions.supervision import BOTH_HALF, BOTH_HOPS, FIRST_HOP, IDENTITY, NATURAL, SECOND_HOP, Supervision
from .questions.task import Part, Task
from .questions.twohop import TwoHopTask, two_hop
from .runs.checkpoints import Checkpoint, Run
from .runs.folder import CheckpointError, FolderInUseError
from .runs.migration import migrate
from .runs.phases import PHASES
from .runs.study import Study, load_study
from .runs.training_config import TrainConfig
from .training.published_transfer import published_new_facts
from .training.resuming import ResumeWarning
from .training.sweep import Job, grid, sweep
from .training.together import train_together
from .training.train import train
from .training.transfer import CELLS, NewFacts

__all__ = [
    "BOTH_HALF",
    "BOTH_HOPS",
    "CELLS",
    "CONTRASTS",
    "FIRST_HOP",
    "IDENTITY",
    "NATURAL",
    "NO_TOKEN",
    "PERTURBED_ROLES",
    "PHASES",
    "SECOND_HOP",
    "SPLITS",
    "TASK_KINDS",
    "Checkpoint",
    "CheckpointError",
    "ComparisonTask",
    "Contrast",
    "DataFolderError",
    "Donor",
    "Donors",
    "Editable",
    "FolderInUseError",
    "Job",
    "KHopTask",
    "KnowledgeGraph",
    "ModelConfig",
    "NewFacts",
    "Part",
    "PromptPairs",
    "Queries",
    "QuestionDonors",
    "QuestionTask",
    "ResumeWarning",
    "Run",
    "Study",
    "Supervision",
    "TRMConfig",
    "Task",
    "TrainConfig",
    "TwoHopTask",
    "build_model",
    "exact_match",
    "grid",
    "is_right",
    "load_study",
    "make_pairs",
    "migrate",
    "perturb",
    "predictions",
    "published_new_facts",
    "shortcut_accuracy",
    "sweep",
    "top_token",
    "train",
    "train_together",
    "two_hop",
    "unsolved_by_shortcuts",
]
