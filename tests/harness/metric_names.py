"""Names of the metrics of server and operator, for texts that use them."""

import ast
import re
from functools import cache
from pathlib import Path

import posecluster_inference
from posecluster_inference.metrics import Metrics
from posecluster_operator.admin.metrics import Metrics as OperatorMetrics

_SAMPLES = {"histogram": ("_bucket", "_sum", "_count"), "counter": ("_total",)}
_PROCESS = {"process_start_time_seconds", "process_resident_memory_bytes", "process_cpu_seconds_total"}


@cache
def inference() -> dict[str, tuple[str, str]]:
    """Name to kind and labels: the registry's, and the gauges that `wiring` adds to it."""
    expected = _of(Metrics().registry)
    source = (Path(posecluster_inference.__file__).parent / "server" / "wiring.py").read_text(
        encoding="utf-8"
    )
    for call in ast.walk(ast.parse(source)):
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute):
            texts = [str(node.value) for node in call.args if isinstance(node, ast.Constant)]
            if call.func.attr == "gauge":
                expected[f"posecluster_{texts[0]}"] = ("gauge", "")
            elif call.func.attr == "gauge_by":
                expected[f"posecluster_{texts[0]}"] = ("gauge", texts[1])
            elif call.func.attr == "build_info":
                labels = ", ".join(str(keyword.arg) for keyword in call.keywords)
                expected["posecluster_build_info"] = ("gauge", labels)
    return expected


@cache
def operator() -> dict[str, tuple[str, str]]:
    """Name to kind and labels."""
    return _of(OperatorMetrics(version="x").registry)


def _of(registry: object) -> dict[str, tuple[str, str]]:
    found = {}
    for collector in list(registry._collector_to_names):  # type: ignore[attr-defined]
        name = getattr(collector, "_name", "")
        if name:
            kind = collector._type
            found[f"{name}_total" if kind == "counter" else name] = (kind, ", ".join(collector._labelnames))
    return found


def unknown(text: str, *tables: dict[str, tuple[str, str]]) -> set[str]:
    """Metrics that the text names and that no table (by default neither program) has."""
    known = {name: kind for table in tables or (inference(), operator()) for name, (kind, _) in table.items()}
    samples = {name + end for name, kind in known.items() for end in _SAMPLES.get(kind, ())}
    named = set(re.findall(r"\b(?:posecluster|process)_[a-z_]+[a-z]", text))
    return named - known.keys() - samples - _PROCESS
