"""Builders of a PoseCluster's children, as dictionaries for server-side apply. Pure."""

from posecluster_operator.builders.table import Inputs, desired_children

__all__ = ["Inputs", "desired_children"]
