"""`posecluster-operator explain`: why a PoseCluster has its current size, and what users can do about it."""

import argparse
import asyncio
import logging
import os
import sys

from posecluster_operator import settings

HELP = "explain why a PoseCluster has its current size, and what to do about it"


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags; `execute` checks their values."""
    own = "(default: the value of the operator's setting)"
    add = parser.add_argument
    add("name", metavar="NAME", help="name of the PoseCluster")
    add(
        "-n",
        "--namespace",
        metavar="TEXT",
        help="namespace of the PoseCluster (default: the kubeconfig's, else default)",
    )
    add("--operator", metavar="URL", help="URL of the operator (default: found through the API server)")
    add("--lease-namespace", metavar="TEXT", help=f"namespace of the operator's Lease {own}")
    add("--lease-name", metavar="TEXT", help=f"name of the operator's Lease {own}")


def execute(parsed: argparse.Namespace) -> int:
    """Print the explanation; raises OperatorError if there is none."""
    flags = {"lease_namespace": parsed.lease_namespace, "lease_name": parsed.lease_name}
    loaded = settings.load(os.environ, flags)
    logging.getLogger().addHandler(logging.NullHandler())  # the caller prints an error as one line
    from posecluster_operator.explain.client import explain  # imports the client, which takes half a second

    found = explain(parsed.name, loaded, namespace=parsed.namespace or "", operator=parsed.operator or "")
    sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]  # for terminals with any encoding
    sys.stdout.write(asyncio.run(found))
    sys.stdout.flush()
    return 0
