"""A server whose catalogue has the task of tests/engines/hand_task.py as well."""

from pathlib import Path
from typing import Any

import pytest

from engines import hand_task

_REGISTER = "import hand_task\nhand_task.register()\n"


def settings_of_second_task(folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Return what to start a server with; Python runs `sitecustomize` in the server and in each worker."""
    (folder / "sitecustomize.py").write_text(_REGISTER, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(folder))
    (folder / "hand.task").write_bytes(hand_task.NETWORK)
    return {"engine": "paper", "model_task": "hand", "model_variant": "tiny", "model_dir": folder}
