"""The PoseCluster operator: turns one resource into inference pods and sizes them from their load."""

__version__ = "0.1.0"
