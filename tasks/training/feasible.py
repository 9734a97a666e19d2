"""What a training needs, known before its first step: questions to learn and to ask, and room on the disk."""

from pathlib import Path

from ..models.building import AnyConfig, architecture_of
from ..questions.kinds import TASK_KINDS
from ..questions.task import Task, splits_for
from ..runs.folder import checkpoint_name
from ..runs.phases import CONSECUTIVE, PHASES
from ..runs.training_config import TrainConfig

BYTES = 4  # of a saved number
SETS_IN_STATE = 4 + CONSECUTIVE  # weights, their average, two moments, and the averages at the last evaluations


def learning_problems(task: Task, config: TrainConfig) -> list[str]:
    """Why a task cannot be trained: nobody could read it back, or a split that training or its end rests on is empty."""
    if task.kind not in TASK_KINDS:
        return [f"a run of the task kind {task.kind!r} could not be read back; known kinds: {', '.join(TASK_KINDS)}"]
    problems = []
    if not any(len(task.split(name)) for name in splits_for(task, "atomic", "trained")):
        problems.append("there is nothing to train: all splits that are trained are empty")
    stops = {"id_generalised": task.id_test, "ood_generalised": task.ood_test}
    wanted = stops.get(config.stop_at or "")
    if config.stop_at in stops and (wanted is None or not len(task.split(wanted))):
        problems.append(f"stop_at={config.stop_at!r} is never reached: {wanted or 'its test split'} holds no question")
    return problems


def bytes_to_write(folder: Path, task: Task, model_config: AnyConfig, config: TrainConfig) -> int:
    """What checkpoints and training states take on the disk at most at once, less what the folder holds of them.

    A new state is written before the older of two goes, so that there are three. Settings, task and metrics are small and
    left out.
    """
    there = {path.name: path.stat().st_size for path in (*folder.glob("state_*"), *folder.glob("checkpoints/step_*"))}
    due = {Path(checkpoint_name(step)).name for step in config.checkpoint_steps}
    one = BYTES * architecture_of(model_config).n_parameters(model_config, task)
    n_checkpoints = min(len(config.evaluation_steps), len(due) + len(PHASES))
    held = sum(n_bytes for name, n_bytes in there.items() if name in due or name.startswith("state_"))
    return max(0, one * (n_checkpoints + 3 * SETS_IN_STATE) - held)
