"""The checks and the rows of hostile inputs that docs/reliability.md describes."""

# number -> (name, tiers)
CHECKS: dict[int, tuple[str, tuple[str, ...]]] = {
    1: ("Rolling update loses nothing", ("component", "e2e")),
    2: ("Scaling loses nothing", ("component", "e2e")),
    3: ("A crash costs at most one request", ("component",)),
    4: ("Poison cannot kill the pool", ("component",)),
    5: ("Overload is refused fast", ("component",)),
    6: ("Bombs die at the header", ("component",)),
    7: ("Killed between any two writes", ("apiserver",)),
    8: ("SIGTERM in order", ("component",)),
    9: ("Traffic without the operator", ("apiserver", "e2e")),
    10: ("No pixel crosses callers", ("component",)),
    11: ("Silent watch, 410, cut", ("apiserver",)),
    12: ("API errors are obeyed", ("apiserver",)),
    13: ("Body limits are exact", ("component",)),
    14: ("Slow clients", ("component",)),
    15: ("Hung worker", ("component",)),
    16: ("Bad metrics never shrink", ("apiserver",)),
    17: ("Bad rollout contained", ("apiserver", "e2e")),
    18: ("Memory soak and recycling", ("component",)),
    19: ("A worker's memory cannot kill the pod", ("component", "e2e")),
    20: ("Restricted, enforced", ("apiserver", "e2e")),
    21: ("RBAC equals use", ("apiserver",)),
    22: ("A PoseCluster writer gains nothing", ("apiserver",)),
    23: ("One writer", ("apiserver", "e2e")),
    24: ("Deadlines", ("component",)),
    25: ("Disconnects free the slot", ("component",)),
    26: ("Drift and pause", ("apiserver", "e2e")),
    27: ("Deletion completes", ("apiserver", "e2e")),
    28: ("Quiet", ("apiserver",)),
    29: ("Operator scale", ("apiserver",)),
    30: ("Upgrade and back", ("e2e",)),
    31: ("CRD versions", ("component", "apiserver")),
    32: ("Probes", ("component", "e2e")),
    33: ("Eviction, kill, spread", ("e2e",)),
    34: ("CPU limit", ("component", "e2e")),
    35: ("Resource fuzz", ("component", "apiserver")),
    36: ("HTTP fuzz", ("component",)),
    37: ("Decoder fuzz", ("component",)),
    38: ("Framing", ("component",)),
    39: ("Fairness, identity, reach", ("component", "e2e")),
    40: ("Static and supply", ("component", "chart", "e2e")),
}

# rows of hostile inputs in docs/reliability.md that must have a test
HOSTILE_ROWS = frozenset(
    {f"I-{row}" for row in range(1, 19)}
    | {f"H-{row}" for row in range(1, 23)}
    | {"H-8a"}
    | {f"K-{row}" for row in range(1, 16)}
)
