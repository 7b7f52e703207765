"""Model files: which are accepted, where they come from, and the check that they are the pinned ones.

catalogue -> sources -> store -> cli. The server needs only `store.verified`.
"""
