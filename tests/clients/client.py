"""python client.py MODE URL PICTURE: sends the picture as a Python program would and prints the status."""

import asyncio
import base64
import json
import sys
import urllib.request
from pathlib import Path


def with_requests(url: str, path: Path) -> int:
    import requests

    with path.open("rb") as file:
        return requests.post(url, files={"file": file}, data={"comment": "text"}, timeout=10).status_code


def with_httpx(url: str, path: Path) -> int:
    import httpx

    with path.open("rb") as file:
        return httpx.post(url, files={"file": ("Bild ä.png", file, "image/png")}).status_code


def with_urllib3(url: str, path: Path) -> int:
    import urllib3

    fields = {"note": "text", "file": ("Bild ä.png", path.read_bytes())}
    return urllib3.request("POST", url, fields=fields).status


def with_aiohttp(url: str, path: Path) -> int:
    import aiohttp

    async def post() -> int:
        form = aiohttp.FormData()
        form.add_field("comment", "text")
        with path.open("rb") as file:
            form.add_field("file", file)
            async with aiohttp.ClientSession() as session, session.post(url, data=form) as answer:
                return answer.status

    return asyncio.run(post())


def with_urllib(url: str, path: Path) -> int:
    with urllib.request.urlopen(url, data=path.read_bytes()) as answer:  # noqa: S310
        status: int = answer.status
        return status


def with_json(url: str, path: Path) -> int:
    body = json.dumps({"image": base64.b64encode(path.read_bytes()).decode()}).encode()
    with urllib.request.urlopen(url, data=body) as answer:  # noqa: S310
        status: int = answer.status
        return status


if __name__ == "__main__":
    print(globals()[f"with_{sys.argv[1]}"](sys.argv[2], Path(sys.argv[3])))
