"""The operator's own client, opened in a test."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from unittest import mock

from posecluster_operator.kube.client import Kube, connect

Calls = list[tuple[str, str]]


@asynccontextmanager
async def open_kube(
    kubeconfig: Path, *, seconds: float = 10, calls: Calls | None = None
) -> AsyncIterator[Kube]:
    """A client for this file; verb and code of each call go to `calls`."""
    noted = [] if calls is None else calls
    with mock.patch.dict(os.environ, {"KUBECONFIG": str(kubeconfig)}):
        kube = await connect(
            request_seconds=seconds, connect_seconds=5, on_call=lambda verb, code: noted.append((verb, code))
        )
    try:
        yield kube
    finally:
        await kube.close()
