"""From a PoseCluster to the objects that it needs, as dictionaries for server-side apply; pure."""

from posecluster_operator.builders.table import Inputs, desired_children

__all__ = ["Inputs", "desired_children"]
