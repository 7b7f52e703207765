"""Which model files are accepted: those of every task, pinned by sha256 in the module of the task.

Sizes, hashes and sources: docs/models.md.
"""

from posecluster_inference.worker import tasks
from posecluster_inference.worker.tasks.model_files import Model

CATALOGUE: tuple[Model, ...] = tuple(model for task in tasks.CATALOGUE.values() for model in task.MODELS)
