"""Check 39, the server's part: tokens are required, rotated, and refused when malformed."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from harness import client
from harness.caller import Caller
from harness.raw import exchange, post
from harness.recorder import RecordFigure
from harness.server import ServerProcess, start_server
from harness.stub import DETECT, Slow

MIB = 1 << 20
Start = Callable[..., ServerProcess]


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """A mounted Secret as kubelet lays it out: files are links through `..data`."""
    folder = tmp_path / "tokens"
    folder.mkdir()
    rotate(folder, {"mobile": "first-token-of-a-test\n", "batch": "other-token-of-a-test"})
    for name in ("mobile", "batch"):
        (folder / name).symlink_to(f"..data/{name}")
    return folder


def rotate(folder: Path, tokens: dict[str, str]) -> None:
    """Swap the Secret's content atomically, and remove the old one, as kubelet does."""
    fresh = folder / f"..{time.monotonic_ns()}"
    fresh.mkdir()
    for name, token in tokens.items():
        (fresh / name).write_text(token)
    link = folder / "..data_tmp"
    link.symlink_to(fresh.name)
    old = (folder / "..data").resolve() if (folder / "..data").exists() else None
    link.rename(folder / "..data")
    if old is not None:
        for path in old.iterdir():
            path.unlink()
        old.rmdir()


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@pytest.mark.acceptance(39)
def test_tokens_are_asked_for_and_rotate_without_restart(start: Start, secret: Path) -> None:
    server = start(engine="stub", auth_tokens_dir=str(secret))
    caller, picture = Caller(server), Slow(0).picture(0)

    def status(token: str) -> int:
        return caller.detect(picture, bearer(token)).status

    assert [status("first-token-of-a-test"), status("other-token-of-a-test")] == [200, 200]
    for headers in (
        {},
        bearer("wrong"),
        bearer("first-token-of-a-test2"),
        bearer(""),
        {"Authorization": "first-token-of-a-test"},
    ):
        reply = caller.detect(picture, headers)
        assert (reply.status, reply.reason) == (401, "unauthorized")
        assert reply.headers["WWW-Authenticate"].startswith("Bearer")
    assert caller.ask("GET", "/v1/model").status == 401
    assert caller.ask("GET", "/v1/model", headers=bearer("first-token-of-a-test")).status == 200

    rotate(secret, {"mobile": "second-token-of-a-test", "batch": "other-token-of-a-test"})
    with Caller(server, "127.0.0.9") as waiting:
        headers = bearer("second-token-of-a-test")
        took = server.wait_until(lambda: waiting.detect(picture, headers).status == 200, "rotated", 10)
    assert took <= 3
    assert [status("first-token-of-a-test"), status("other-token-of-a-test")] == [401, 200]
    caller.close()
    server.terminate()
    assert server.wait(10) == 0
    log = server.logs()
    assert not [
        token
        for token in ("first-token-of-a-test", "second-token-of-a-test", "other-token-of-a-test", "wrong")
        if token in log
    ]


@pytest.mark.acceptance(39)
def test_a_token_that_stays_in_the_folder_stays_valid_through_rotations(
    start: Start, secret: Path, record_figure: RecordFigure
) -> None:
    """Kubelet swaps the files while the server reads them: a caller whose token stays must not get a 401."""
    server = start(engine="stub", auth_tokens_dir=str(secret))
    caller, picture = Caller(server), Slow(0).picture(0)
    statuses: Counter[int] = Counter()
    end, rotations = time.monotonic() + 4, 0
    while time.monotonic() < end:
        rotate(secret, {"mobile": f"token number {rotations:08}", "batch": "other-token-of-a-test"})
        rotations += 1
        if rotations % 5 == 0:
            statuses[caller.detect(picture, bearer("other-token-of-a-test")).status] += 1
    caller.close()
    record_figure("401s of a kept token in rotations", statuses[401], bar="= 0", sample=rotations)
    assert statuses.keys() == {200}
    assert statuses[200] >= 20


@pytest.mark.acceptance(39)
def test_an_empty_or_missing_folder_accepts_no_caller(start: Start, tmp_path: Path) -> None:
    folder = tmp_path / "tokens"
    folder.mkdir()
    (folder / "only").write_text("only-token-of-a-test")
    server = start(engine="stub", auth_tokens_dir=str(folder))
    picture = Slow(0).picture(0)

    def status() -> int:
        return client.post(server.url + DETECT, picture, headers=bearer("only-token-of-a-test")).status

    assert status() == 200
    (folder / "only").write_text(" \n")
    server.wait_until(lambda: status() != 200, "an empty file is no token", 5)
    assert client.post(server.url + DETECT, picture, headers=bearer("")).status == 401
    (folder / "only").write_text("only-token-of-a-test")
    server.wait_until(lambda: status() == 200, "back", 5)
    (folder / "only").unlink()
    folder.rmdir()
    server.wait_until(lambda: status() != 200, "a folder that is gone accepts nobody", 5)


@pytest.mark.acceptance(39)
@pytest.mark.hostile("H-21")
@pytest.mark.parametrize(
    ("lines", "statuses"),
    [
        (("Authorization: Bearer " + "a" * MIB,), {400, 431}),
        (("Authorization: Bearer unknown",), {401}),
        (("Authorization: Bearer",), {401}),
        (("Authorization:",), {401}),
        (("Authorization: Basic Zmlyc3QtdG9rZW46",), {401}),
        (
            ("Authorization: Bearer first-token-of-a-test", "Authorization: Bearer other-token-of-a-test"),
            {401},
        ),
        (
            ("Authorization: Bearer first-token-of-a-test", "Authorization: Bearer first-token-of-a-test"),
            {401},
        ),
        (("Authorization: Bearer first-token-of-a-test, Bearer other-token-of-a-test",), {401}),
        (("Authorization: Bearer \xff\xfe",), {400, 401}),
    ],
)
def test_malformed_tokens_are_refused(
    token_server: ServerProcess, lines: tuple[str, ...], statuses: set[int]
) -> None:
    server, picture = token_server, Slow(0).picture(0)
    request = post(DETECT, picture, *lines, "Connection: close")
    seen = exchange(server.address, request, deadline_seconds=5)
    assert len(seen.statuses) == 1
    assert set(seen.statuses) <= statuses
    good = post(DETECT, picture, "Authorization: Bearer first-token-of-a-test", "Connection: close")
    assert exchange(server.address, good).statuses == [200]


@pytest.mark.acceptance(39)
def test_quotas_are_per_token_where_tokens_are_used(start: Start, secret: Path) -> None:
    server = start(engine="stub", auth_tokens_dir=str(secret), rate_limit_per_minute=60, rate_limit_burst=2)

    def status(address: str, token: str) -> int:
        with Caller(server, address) as caller:
            return caller.detect(Slow(0).picture(0), bearer(token)).status

    by_first = [status(f"127.0.0.{number}", "first-token-of-a-test") for number in (2, 3, 4)]
    by_other = [status("127.0.0.2", "other-token-of-a-test") for _ in range(3)]
    assert by_first == by_other == [200, 200, 429]
    assert [status("127.0.0.8", "wrong") for _ in range(4)] == [401] * 4


@pytest.mark.parametrize("shared", [False, True])
def test_a_hit_in_the_cache_does_not_tell_what_another_caller_sent(
    start: Start, secret: Path, shared: bool
) -> None:
    settings = {"cache_shared": "true"} if shared else {}
    server = start(engine="stub", auth_tokens_dir=str(secret), **settings)
    picture = Slow(0).picture(0)

    def cached(token: str) -> bool:
        with Caller(server) as caller:
            return "hit" in caller.detect(picture, bearer(token)).headers["Cache-Status"]

    assert [cached("first-token-of-a-test") for _ in range(2)] == [False, True]
    assert cached("other-token-of-a-test") is shared
    assert cached("other-token-of-a-test")


def test_answers_of_a_removed_token_are_removed(start: Start, secret: Path) -> None:
    server = start(engine="stub", auth_tokens_dir=str(secret))
    picture = Slow(0).picture(0)

    def reply(address: str, token: str) -> client.Reply:
        with Caller(server, address) as caller:
            return caller.detect(picture, bearer(token))

    assert reply("127.0.0.2", "first-token-of-a-test").status == 200
    rotate(secret, {"mobile": "later-token-of-a-test", "batch": "other-token-of-a-test"})
    answers: list[client.Reply] = []

    def rotated() -> bool:
        answers.append(reply("127.0.0.9", "later-token-of-a-test"))
        return answers[-1].status == 200

    server.wait_until(rotated, "rotated", 10)
    assert "hit" not in answers[-1].headers["Cache-Status"]


def test_equal_pictures_of_two_callers_are_computed_twice(start: Start, secret: Path) -> None:
    server = start(engine="stub", auth_tokens_dir=str(secret), workers=2)
    picture = Slow(1_000).picture(0)
    with ThreadPoolExecutor(4) as threads:
        replies = list(
            threads.map(
                lambda token: client.post(server.url + DETECT, picture, headers=bearer(token)),
                ["first-token-of-a-test", "first-token-of-a-test", "other-token-of-a-test"],
            )
        )
    assert [reply.status for reply in replies] == [200] * 3
    assert sum("collapsed" in reply.headers["Cache-Status"] for reply in replies) == 1


@pytest.fixture(scope="module")
def token_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    folder = tmp_path_factory.mktemp("token")
    (folder / "mobile").write_text("first-token-of-a-test")
    (folder / "batch").write_text("other-token-of-a-test")
    with start_server(
        folder=tmp_path_factory.mktemp("logs"), engine="stub", auth_tokens_dir=str(folder)
    ) as server:
        yield server


def test_the_client_port_reports_only_the_status_if_tokens_are_required(start: Start, secret: Path) -> None:
    server = start(engine="stub", auth_tokens_dir=str(secret))
    for headers in ({}, bearer("first-token-of-a-test"), bearer("wrong")):
        answer = client.get(f"{server.url}/healthz", headers=headers)
        assert (answer.status, answer.json()) == (200, {"status": "ready"})
    assert client.get(f"{server.admin_url}/healthz").json()["workers"]


@pytest.mark.control
def test_without_tokens_the_client_port_reports_the_whole_state(start: Start) -> None:
    server = start(engine="stub")
    assert client.get(f"{server.url}/healthz").json()["workers"]
