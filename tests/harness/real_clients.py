"""Programs in several languages that send a picture (tests/clients), and what they sent (tests/data/clients).

    status = run("go form", "http://127.0.0.1:8080/v1/detect")

`tests/tools/record_clients.py` writes the recorded requests; each contains the picture `PICTURE`.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from harness.pictures import ROOT

SOURCES = ROOT / "tests" / "clients"
RECORDED = ROOT / "tests" / "data" / "clients"
PICTURE = RECORDED / "picture.png"
_SECONDS = 120.0  # Go and Java compile first

_CURL = ("curl", "-s", "-o", "/dev/null", "-w", "%{http_code}")
_SHELL_JSON = (
    """printf '{"image": "%s"}' "$(base64 "$1")" | """
    """curl -s -o /dev/null -w '%{http_code}' -H 'Content-Type: application/json' --data-binary @- "$0" """
)

# name -> the command; {url} and {picture} are filled in
COMMANDS: Mapping[str, tuple[str, ...]] = {
    "curl form": (*_CURL, "-F", "picture=@{picture}", "{url}"),
    "curl form with fields": (*_CURL, "-F", "a=b", "-F", "file=@{picture};filename=/tmp/a b.png", "{url}"),
    "curl body": (*_CURL, "--data-binary", "@{picture}", "{url}"),
    "curl upload": (*_CURL, "-X", "POST", "-T", "{picture}", "{url}"),
    "curl chunked": (*_CURL, "-H", "Transfer-Encoding: chunked", "-F", "picture=@{picture}", "{url}"),
    "shell json": ("bash", "-c", _SHELL_JSON, "{url}", "{picture}"),
    "wget body": ("wget", "-q", "-S", "-O", "/dev/null", "--post-file={picture}", "{url}"),
    **{
        f"python {mode}": (sys.executable, "client.py", mode, "{url}", "{picture}")
        for mode in ("requests", "httpx", "urllib3", "aiohttp", "urllib", "json")
    },
    **{
        f"node {mode}": ("node", "client.cjs", mode, "{url}", "{picture}")
        for mode in ("fetch-form", "fetch-form-json", "fetch-body", "fetch-json", "fetch-data-url")
    },
    **{
        f"npm {mode}": ("node", "client.cjs", mode, "{url}", "{picture}")
        for mode in ("axios-form", "axios-json", "form-data", "superagent")
    },
    **{
        f"go {mode}": ("go", "run", "client.go", mode, "{url}", "{picture}")
        for mode in ("form", "field", "body", "json")
    },
    **{
        f"java {mode}": ("java", "Client.java", mode, "{url}", "{picture}")
        for mode in ("form", "body", "json", "many")
    },
    **{
        f"php {mode}": ("php", "client.php", mode, "{url}", "{picture}")
        for mode in ("form", "string-file", "json", "body")
    },
    **{
        f"ruby {mode}": ("ruby", "client.rb", mode, "{url}", "{picture}") for mode in ("form", "json", "body")
    },
}


def missing(name: str) -> str | None:
    """What this machine lacks to run a client; None if nothing."""
    program = COMMANDS[name][0]
    if shutil.which(program) is None:
        return f"no {program} on PATH"
    if name.startswith("npm ") and "NODE_PATH" not in os.environ:
        return "no npm packages: set NODE_PATH to a folder that has axios, form-data and superagent"
    if name.startswith("php ") and "curl" not in _output(["php", "-m"]):
        return "PHP has no curl extension"
    return None


def run(name: str, url: str, picture: Path = PICTURE) -> list[str]:
    """Send the picture and return the status codes of the answers."""
    filled = {"{url}": url, "{picture}": str(picture)}
    command = list(COMMANDS[name])
    for hole, value in filled.items():
        command = [word.replace(hole, value) for word in command]
    output = _output(command)
    return [word for word in output.split() if word.isdecimal() and len(word) == 3]


def _output(command: list[str]) -> str:
    done = subprocess.run(command, cwd=SOURCES, capture_output=True, text=True, timeout=_SECONDS, check=False)
    return done.stdout + done.stderr


def recorded() -> list[Path]:
    """The recorded requests, each a file of the bytes as they were sent."""
    return sorted(RECORDED.glob("*.http"))
