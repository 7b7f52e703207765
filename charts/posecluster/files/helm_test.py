"""What `helm test` runs, in the operator's image: is the operator at work, are PoseClusters served?

Standard library only. Ends with 0 and what it found, else after a minute with 1 and what is missing.
"""

import json
import os
import socket
import ssl
import sys
import time
import urllib.request
from pathlib import Path

PORT, LONGEST_SECONDS = 9091, 60.0
ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


def get(url: str, **options: object) -> str:
    """Body of a 200; OSError for anything else."""
    request = urllib.request.Request(url, headers=options.pop("headers", {}))  # noqa: S310  ours, http or https
    with urllib.request.urlopen(request, timeout=5, **options) as answer:  # noqa: S310
        return answer.read().decode()


def check_api() -> str:
    """The API server serves PoseClusters."""
    host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ["KUBERNETES_SERVICE_PORT"]
    host = f"[{host}]" if ":" in host else host
    token = (ACCOUNT / "token").read_text(encoding="utf-8")
    found = get(
        f"https://{host}:{port}/apis/posecluster.io/v1alpha1",
        headers={"Authorization": f"Bearer {token}"},
        context=ssl.create_default_context(cafile=str(ACCOUNT / "ca.crt")),
    )
    if not {"poseclusters", "poseclusters/status"} <= {one["name"] for one in json.loads(found)["resources"]}:
        raise OSError("the API server does not serve poseclusters")
    return "PoseClusters are served"


def check_operator() -> str:
    """All pods of the operator are there and ready, and exactly one of them holds the Lease."""
    addresses = {
        one[4][0] for one in socket.getaddrinfo(os.environ["OPERATOR"], PORT, type=socket.SOCK_STREAM)
    }
    wanted = os.environ["REPLICAS"]
    if str(len(addresses)) != wanted:
        raise OSError(f"{len(addresses)} pods, not {wanted}")
    leaders = 0
    for address in addresses:
        base = f"http://[{address}]:{PORT}" if ":" in address else f"http://{address}:{PORT}"
        get(f"{base}/readyz")
        leaders += "posecluster_operator_leader 1.0" in get(f"{base}/metrics").splitlines()
    if leaders != 1:
        raise OSError(f"{leaders} of {len(addresses)} pods of the operator hold the Lease")
    return f"the operator is ready, {len(addresses)} of it"


def main() -> int:
    end = time.monotonic() + LONGEST_SECONDS
    for check in (check_api, check_operator):
        while True:
            try:
                print(check(), flush=True)
                break
            except OSError as error:
                if time.monotonic() > end:
                    print(f"{check.__doc__} Not so: {error}", flush=True)
                    return 1
            time.sleep(1.0)
    return 0


sys.exit(main())
