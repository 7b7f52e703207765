"""The accepted model files of all tasks. The module of each task pins them by sha256.

For sizes, hashes and sources see docs/models.md.
"""

from posecluster_inference.worker import tasks
from posecluster_inference.worker.tasks.model_files import Model

CATALOGUE: tuple[Model, ...] = tuple(model for task in tasks.CATALOGUE.values() for model in task.MODELS)
