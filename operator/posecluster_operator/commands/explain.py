"""`posecluster-operator explain`: why a PoseCluster has the size it has now, and what a person can do."""

import argparse
import asyncio
import logging
import os
import sys

from posecluster_operator import settings

HELP = "say why a PoseCluster has the size it has now, and what to do about it"


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags; what they say is checked in `execute`."""
    parser.add_argument("name", metavar="NAME", help="of the PoseCluster")
    texts = (
        (("-n", "--namespace"), "TEXT", "its namespace (default: the kubeconfig's, else default)"),
        (("--operator",), "URL", "where the operator listens (default: looked for through the API server)"),
        (
            ("--lease-namespace",),
            "TEXT",
            "namespace of the operator's Lease (default: the operator's setting)",
        ),
        (("--lease-name",), "TEXT", "name of the operator's Lease (default: the operator's setting)"),
    )
    for names, kind, meaning in texts:
        parser.add_argument(*names, metavar=kind, help=meaning)


def execute(parsed: argparse.Namespace) -> int:
    """Ask and print; raises OperatorError if nothing can be told."""
    loaded = settings.load(
        os.environ, {"lease_namespace": parsed.lease_namespace, "lease_name": parsed.lease_name}
    )
    logging.getLogger().addHandler(logging.NullHandler())  # what goes wrong is one line, our own
    from posecluster_operator.inquiry import Question, explain  # with the client: half a second

    question = Question(name=parsed.name, namespace=parsed.namespace or "", operator=parsed.operator or "")
    sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]  # of any terminal
    sys.stdout.write(asyncio.run(explain(question, loaded)))
    sys.stdout.flush()
    return 0
