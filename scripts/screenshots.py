"""Take the screenshots of the README: docs/playground.webp and docs/playground-dark.webp.

Needs the full model and Chromium. They show the built-in picture.
"""

import os
import sys
from pathlib import Path

import cv2
import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from harness.browser import Visit, find_chromium, launched  # noqa: E402
from harness.server import start_server  # noqa: E402

_QUALITY = 88


def main() -> int:
    path = find_chromium()
    if path is None:
        print("screenshots: no chromium on PATH: run scripts/chromium", file=sys.stderr)
        return 1
    os.chdir(ROOT)
    with start_server(workers=2) as server, launched(path) as browser:
        for scheme, name, size in (
            ("light", "playground", {"width": 1280, "height": 1000}),
            ("dark", "playground-dark", {"width": 1280, "height": 1000}),
        ):
            context = browser.new_context(viewport=size, color_scheme=scheme)  # type: ignore[arg-type]
            visit = Visit(context.new_page())
            visit.open(server.url)
            visit.page.click("#sample")
            visit.wait_for_skeleton()
            visit.page.wait_for_selector(".workers .ready")
            visit.page.hover("#joint-0-12")
            _save(visit.page.screenshot(), ROOT / "docs" / f"{name}.webp")
            context.close()
    return 0


def _save(png: bytes, path: Path) -> None:
    picture = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    cv2.imwrite(str(path), picture, [cv2.IMWRITE_WEBP_QUALITY, _QUALITY])
    print(f"Wrote {path.relative_to(ROOT)}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    sys.exit(main())
