"""PoseCluster's inference server: a picture in, 33 body landmarks out."""

__version__ = "0.1.0"
