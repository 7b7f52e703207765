"""Model files: the accepted files, their sources, and the check of their content.

The modules import each other in the order cli, store, sources, catalogue. The server uses only
`store.verified`. `trimming` removes what no result depends on from a file before it is stored.
"""
