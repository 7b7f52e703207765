"""PoseCluster's inference server: finds 33 body landmarks of each person in a picture."""

__version__ = "0.1.0"
