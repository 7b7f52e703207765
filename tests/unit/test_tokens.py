"""Tokens: exactly those in the folder, in one well-formed field, rotated without a restart."""

import asyncio
import logging
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posecluster_inference.errors import Reason, Refusal
from posecluster_inference.server.http import tokens as tokens_module
from posecluster_inference.server.http.tokens import Tokens

ADDRESS = "192.0.2.7"


def _tokens(folder: Path, **files: bytes) -> Tokens:
    for name, content in files.items():
        (folder / name).write_bytes(content)
    tokens = Tokens(folder)
    tokens.read()
    return tokens


def _accepts(tokens: Tokens, token: str) -> bool:
    with suppress(Refusal):
        return bool(tokens.caller([f"Bearer {token}"], ADDRESS, 0.0))
    return False


def test_a_caller_is_named_by_its_tokens_file(tmp_path: Path) -> None:
    tokens = _tokens(tmp_path, alice=b"s3cret-s3cret-s3cret\n", bob=b"  hunter2-hunter2-hunter2  ")
    assert tokens.caller(["Bearer s3cret-s3cret-s3cret"], ADDRESS, 0.0) == "token:alice"
    assert tokens.caller(["bEARER   hunter2-hunter2-hunter2 "], ADDRESS, 0.0) == "token:bob"


@pytest.mark.parametrize(
    "fields",
    [
        [],
        [""],
        ["Bearer"],
        ["Bearer "],
        ["Bearer wrong"],
        ["Bearer s3cret-s3cret-s3cre"],
        ["Bearer s3cret-s3cret-s3cret2"],
        ["Bearer S3CRET"],
        ["Bearer s3cret-s3cret-s3cret, Bearer s3cret-s3cret-s3cret"],
        ["Basic s3cret-s3cret-s3cret"],
        ["s3cret-s3cret-s3cret"],
        ["Bearer s3cret-s3cret-s3cret", "Bearer s3cret-s3cret-s3cret"],
        ["Bearer " + "x" * 1_048_576],
        ["Bearer \udcff"],  # a byte that is not UTF-8, as aiohttp decodes it
    ],
)
def test_anything_else_is_unauthorized(tmp_path: Path, fields: list[str]) -> None:
    tokens = _tokens(tmp_path, alice=b"s3cret-s3cret-s3cret", empty=b"", blank=b" \n")
    with pytest.raises(Refusal) as caught:
        tokens.caller(fields, ADDRESS, 0.0)
    assert (caught.value.reason, caught.value.status) == (Reason.UNAUTHORIZED, 401)
    assert "s3cret-s3cret-s3cret" not in str(caught.value)


@given(fields=st.lists(st.text(st.characters(exclude_categories=["Cs"])), max_size=3))
def test_no_guess_is_accepted(fields: list[str]) -> None:
    tokens = Tokens(Path("/nonexistent"))
    with pytest.raises(Refusal):
        tokens.caller(fields, ADDRESS, 0.0)


def test_only_plain_files_of_a_sane_size_are_tokens(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "deep").write_bytes(b"deep")
    longest = b"x" * 4_096
    tokens = _tokens(tmp_path, longest=longest, longer=b"y" * 4_097, **{".hidden": b"hidden"})
    assert _accepts(tokens, longest.decode())
    assert not any(_accepts(tokens, token) for token in ("y" * 4_097, "y" * 4_096, "hidden", "deep"))


def test_an_unreadable_file_disables_only_its_own_token(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "broken").symlink_to("no such file")
    tokens = _tokens(tmp_path, alice=b"s3cret-s3cret-s3cret", zoe=b"hunter2-hunter2-hunter2")
    assert _accepts(tokens, "s3cret-s3cret-s3cret")
    assert _accepts(tokens, "hunter2-hunter2-hunter2")
    (warning,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert warning.getMessage() == "Cannot use a token"
    assert vars(warning)["fields"]["file"] == "broken"


def test_a_missing_folder_accepts_no_caller(tmp_path: Path) -> None:
    folder = tmp_path / "tokens"
    folder.mkdir()
    tokens = _tokens(folder, alice=b"s3cret-s3cret-s3cret")
    assert _accepts(tokens, "s3cret-s3cret-s3cret")
    (folder / "alice").unlink()
    folder.rmdir()
    tokens.read()
    assert not _accepts(tokens, "s3cret-s3cret-s3cret")


def _mount(folder: Path, version: str, **files: bytes) -> None:
    """Write a Secret as the kubelet does: files are links into a folder that one rename swaps."""
    (folder / version).mkdir()
    for name, content in files.items():
        (folder / version / name).write_bytes(content)
        if not (folder / name).is_symlink():
            (folder / name).symlink_to(Path("..data") / name)
    (folder / "..data_tmp").symlink_to(version)
    (folder / "..data_tmp").rename(folder / "..data")


async def test_a_rotated_secret_counts_without_a_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokens_module, "_PERIOD_SECONDS", 0.01)
    _mount(tmp_path, "..1", alice=b"old" * 8)
    tokens = Tokens(tmp_path)
    await asyncio.to_thread(tokens.read)
    assert _accepts(tokens, "old" * 8)
    removed: list[str] = []
    reading = asyncio.create_task(tokens.run(removed.append))
    _mount(tmp_path, "..2", alice=b"new" * 8)
    async with asyncio.timeout(5):
        while not _accepts(tokens, "new" * 8):  # noqa: ASYNC110 (a thread reads)
            await asyncio.sleep(0.005)
    assert not _accepts(tokens, "old" * 8)
    assert removed == ["token:alice"]
    reading.cancel()
    with suppress(asyncio.CancelledError):
        await reading


def test_a_token_that_could_be_guessed_is_not_accepted_and_the_log_says_why(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tokens = _tokens(tmp_path, short=b"x" * 15, enough=b"y" * 16, empty=b"")
    tokens.read()  # a second time, as every second
    assert (_accepts(tokens, "x" * 15), _accepts(tokens, "y" * 16)) == (False, True)
    reasons = [
        (vars(record)["fields"]["file"], vars(record)["fields"]["reason"])
        for record in caplog.records
        if record.levelno == logging.WARNING
    ]
    assert reasons == [
        ("empty", "contains no token"),
        (
            "short",
            "has fewer than 16 bytes and could be guessed: generate one, for example with "
            "`openssl rand -hex 32`",
        ),
    ]


def test_an_address_may_send_few_wrong_tokens_and_the_right_one_always_passes(tmp_path: Path) -> None:
    tokens = _tokens(tmp_path, alice=b"s3cret-s3cret-s3cret")

    def refused(address: str, now: float) -> Refusal:
        with pytest.raises(Refusal) as caught:
            tokens.caller(["Bearer wrong"], address, now)
        return caught.value

    assert [refused(ADDRESS, 0.0).reason for _ in range(21)] == [Reason.UNAUTHORIZED] * 20 + [Reason.QUOTA]
    assert refused(ADDRESS, 0.0).retry_after_seconds == 3
    assert refused("192.0.2.8", 0.0).reason is Reason.UNAUTHORIZED
    assert tokens.caller(["Bearer s3cret-s3cret-s3cret"], ADDRESS, 0.0) == "token:alice"
    assert refused(ADDRESS, 3.0).reason is Reason.UNAUTHORIZED


def test_tokens_are_never_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        _tokens(tmp_path, alice=b"s3cret-s3cret-s3cret")
    assert [record.message for record in caplog.records] == ["Read tokens"]
    assert not any("s3cret-s3cret-s3cret" in str(vars(record)) for record in caplog.records)
