"""For all tiers: the record of checks, the tiers' rules, repeatable generated cases."""

import os

from hypothesis import settings

from posecluster_common.descriptors import raise_limit

pytest_plugins = ["harness.golden", "harness.recorder", "harness.server_fixtures", "harness.tiers"]

raise_limit()  # tests open thousands of connections, and login shells allow 1,024 descriptors

# Clients that tests start, such as curl, must reach this machine directly where a proxy is configured.
for name in ("no_proxy", "NO_PROXY"):
    os.environ[name] = ",".join(filter(None, (os.environ.get(name), "127.0.0.1,localhost,::1")))

# deadlines measure the machine; a fixed order makes equal runs equal (POSECLUSTER_LONG searches on)
settings.register_profile("short", deadline=None, derandomize=True, max_examples=100, database=None)
settings.register_profile("few", settings.get_profile("short"), max_examples=10)  # for each other Python
settings.register_profile("long", deadline=None, max_examples=2_000, database=None)
settings.load_profile("long" if os.environ.get("POSECLUSTER_LONG") == "1" else "short")
