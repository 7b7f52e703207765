"""The page below a path, on a phone, in dark mode, by keyboard; its accessibility, size and speed."""

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from harness.browser import is_red, pixels
from harness.prefix import behind_prefix

_PREFIX = "/teams/pose/"
_PHONE = {
    "viewport": {"width": 360, "height": 740},
    "device_scale_factor": 2,
    "is_mobile": True,
    "has_touch": True,
}
_MOST_BYTES = 250_000
_FIRST_PAINT_MS = 100
_SHARED_MACHINE = 10  # how much longer it may take beside other tests
_LONGEST_TASK_MS = 1_000  # of the page while 12 megapixels come and go, on a machine that others use
_FIRST_PAINT = """() => new Promise((done) => new PerformanceObserver((list) => {
  const [paint] = list.getEntriesByName("first-contentful-paint");
  if (paint) done(paint.startTime);
}).observe({ type: "paint", buffered: true }))"""
_TASKS = """() => {
  globalThis.tasks = [];
  const seen = new PerformanceObserver((list) => tasks.push(...list.getEntries().map((one) => one.duration)));
  seen.observe({ type: "longtask" });
}"""


def _serious(page):
    found = Axe().run(page).response
    assert len(found["passes"]) > 20
    return [
        (one["id"], node["html"])
        for one in found["violations"]
        if one["impact"] in ("serious", "critical")
        for node in one["nodes"]
    ]


def test_the_page_works_below_a_path(visit, pose_server, astronaut):
    with behind_prefix(pose_server.address, _PREFIX) as url:
        opened = visit(url)
        opened.page.click("#sample")
        opened.wait_for_skeleton()
        expect(opened.page.locator("#pill")).to_have_text("ready")
        assert f"{url}v1/detect" in opened.page.inner_text("#code")
        opened.page.click("text=API reference")
        opened.page.click("#operations-server-health .opblock-summary-control")
        opened.page.click("text=Try it out")
        opened.page.click("text=Execute")
        expect(opened.page.locator(".live-responses-table .response .response-col_status")).to_contain_text(
            "200"
        )
        expect(opened.page.locator(".request-url")).to_contain_text(f"{url}healthz")
        opened.page.click("text=Playground")
        expect(opened.page.locator("h1")).to_contain_text("PoseCluster")
        paths = {request.url for request in opened.asked}
        assert [path for path in paths if not path.startswith((url, "blob:", "data:"))] == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious_in_the_playground(visit, pose_server, two_people, scheme):
    opened = visit(pose_server.url, color_scheme=scheme)
    expect(opened.page.locator("#pill")).to_have_text("ready")
    assert _serious(opened.page) == []
    opened.choose(two_people)
    opened.wait_for_skeleton(2)
    opened.page.check("#show-labels")
    opened.page.click("#answer-box summary")
    assert _serious(opened.page) == []
    opened.choose(b"no picture", "broken.jpg")
    opened.notice()
    assert _serious(opened.page) == []
    back = pixels(opened.page.locator("body"))[-3:, :3].mean()
    assert (back < 60) if scheme == "dark" else (back > 200)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious_in_the_reference(visit, pose_server, scheme):
    opened = visit(pose_server.url + "/docs", color_scheme=scheme)
    opened.page.wait_for_selector(".opblock")
    assert _serious(opened.page) == []
    opened.page.click("#operations-pose-detect .opblock-summary-control")
    opened.page.wait_for_selector(".responses-table .response")
    assert _serious(opened.page) == []


@pytest.mark.control
def test_control_axe_sees_what_is_wrong(visit, pose_server):
    opened = visit(pose_server.url)
    opened.page.evaluate("""() => {
        document.getElementById("show-labels").parentElement.replaceWith(
            Object.assign(document.createElement("input"), { type: "text" }));
        document.getElementById("summary").textContent = "pale";
        document.getElementById("summary").style.color = "#eee";
    }""")
    assert {"label", "color-contrast"} <= {name for name, _html in _serious(opened.page)}


@pytest.mark.smoke
def test_the_reference_shows_every_operation(visit, pose_server):
    opened = visit(pose_server.url + "/docs")
    opened.page.wait_for_selector(".opblock")
    shown = opened.page.locator(".opblock-summary-path").all_inner_texts()
    assert {path.replace("\u200b", "") for path in shown} == {
        *("/v1/detect", "/v1/model", "/healthz", "/openapi.json", "/", "/docs", "/assets/{name}")
    }
    assert opened.hosts() == {f"127.0.0.1:{pose_server.port}"}


@pytest.mark.parametrize("path", ["/", "/docs"])
@pytest.mark.parametrize("width", [320, 768])
def test_the_pages_fit_the_width_of_a_phone(visit, pose_server, two_people, path, width):
    opened = visit(pose_server.url + path, **{**_PHONE, "viewport": {"width": width, "height": 740}})
    if path == "/":
        opened.choose(two_people, "a-rather-long-name-of-a-picture-without-any-space-in-it-at-all.jpg")
        opened.wait_for_skeleton(2)
    else:
        for summary in opened.page.locator(".opblock-summary-control").all():
            summary.evaluate("one => one.click()")
        opened.page.wait_for_selector("#operations-pose-detect .responses-table .response")
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= width


def test_a_touch_names_a_joint(visit, pose_server, astronaut):
    page = visit(pose_server.url, **_PHONE).page
    page.tap("#sample")
    page.tap("#joint-0-0")
    assert page.inner_text("#tip").startswith("nose")


def test_all_can_be_reached_by_keyboard(visit, pose_server):
    opened = visit(pose_server.url)
    page = opened.page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.focus("#sample")
    page.keyboard.press("Enter")
    opened.wait_for_skeleton()
    reached = set()
    for _ in range(60):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.id || document.activeElement.dataset.view || ''"))
    wanted = {
        "skeleton",
        "show-picture",
        "again",
        "download",
        "copy-json",
        "copy-csv",
        "world",
        "spin",
        "front",
    }
    assert wanted | {"fresh", "copy-code", "code", "file", "camera"} <= reached


def test_the_content_security_policy_blocks_other_sources(visit, pose_server):
    opened = visit(pose_server.url)
    ran = opened.page.evaluate("""async () => {
        const script = document.createElement("script");
        try {
            script.textContent = "globalThis.planted = 1";
            document.head.append(script);
        } catch { /* refused */ }
        const away = await fetch("http://127.0.0.2:9/").then(() => "sent", () => "stopped");
        return [globalThis.planted ?? "stopped", away];
    }""")
    assert ran == ["stopped", "stopped"]
    assert len(opened.faults) >= 2
    opened.faults.clear()


def test_the_page_is_small_and_loads_fast(visit, pose_server, record_testsuite_property):
    paints, sizes = [], []
    for _ in range(3):
        page = visit(pose_server.url).page
        expect(page.locator("#pill")).to_have_text("ready")
        paints.append(page.evaluate(_FIRST_PAINT))
        sizes.append(
            page.evaluate("""performance.getEntries().filter((one) => "transferSize" in one)
            .reduce((sum, one) => sum + one.transferSize, 0)""")
        )
    record_testsuite_property("first paint, ms", round(min(paints)))
    record_testsuite_property("page weight, bytes", max(sizes))
    print(f"first paint {min(paints):.0f} ms, page weight {max(sizes)} bytes")
    assert min(paints) <= _FIRST_PAINT_MS * _SHARED_MACHINE
    assert 5_000 < max(sizes) <= _MOST_BYTES


def test_a_photograph_of_12_megapixels_stays_fluid(
    visit, pose_server, twelve_megapixels, record_testsuite_property
):
    opened = visit(pose_server.url)
    opened.choose(twelve_megapixels)
    opened.page.evaluate(_TASKS)  # now: handing the file over is Playwright's own long task
    opened.wait_for_skeleton()
    opened.page.check("#show-labels")
    box = opened.page.locator("#frame").bounding_box()
    for step in range(40):
        opened.page.mouse.move(box["x"] + step * box["width"] / 40, box["y"] + box["height"] / 3)
    longest = opened.page.evaluate("Math.max(0, ...tasks)")
    record_testsuite_property("longest task with 12 MP, ms", longest)
    print(f"longest task {longest:.0f} ms")
    assert longest <= _LONGEST_TASK_MS
    seen = pixels(opened.page.locator("#frame"))
    nose = opened.page.locator("#joint-0-0")
    assert is_red(seen, float(nose.get_attribute("cx")) / 4_000, float(nose.get_attribute("cy")) / 3_000)
