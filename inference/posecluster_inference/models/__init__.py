"""Model files: which are accepted, where they come from, and the check that they are the pinned ones.

catalogue -> packages, bundle, repack -> sources -> store -> cli. The server needs `store.verified` only.
"""
