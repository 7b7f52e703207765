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


def _tokens(folder: Path, **files: bytes) -> Tokens:
    for name, content in files.items():
        (folder / name).write_bytes(content)
    tokens = Tokens(folder)
    tokens.read()
    return tokens


def _accepts(tokens: Tokens, token: str) -> bool:
    with suppress(Refusal):
        return bool(tokens.caller([f"Bearer {token}"]))
    return False


def test_a_caller_is_named_by_its_tokens_file(tmp_path: Path) -> None:
    tokens = _tokens(tmp_path, alice=b"s3cret\n", bob=b"  hunter2  ")
    assert tokens.caller(["Bearer s3cret"]) == "token:alice"
    assert tokens.caller(["bEARER   hunter2 "]) == "token:bob"


@pytest.mark.parametrize(
    "fields",
    [
        [],
        [""],
        ["Bearer"],
        ["Bearer "],
        ["Bearer wrong"],
        ["Bearer s3cre"],
        ["Bearer s3cret2"],
        ["Bearer S3CRET"],
        ["Bearer s3cret, Bearer s3cret"],
        ["Basic s3cret"],
        ["s3cret"],
        ["Bearer s3cret", "Bearer s3cret"],
        ["Bearer " + "x" * 1_048_576],
        ["Bearer \udcff"],  # a byte that is not UTF-8, as aiohttp decodes it
    ],
)
def test_anything_else_is_unauthorized(tmp_path: Path, fields: list[str]) -> None:
    tokens = _tokens(tmp_path, alice=b"s3cret", empty=b"", blank=b" \n")
    with pytest.raises(Refusal) as caught:
        tokens.caller(fields)
    assert (caught.value.reason, caught.value.status) == (Reason.UNAUTHORIZED, 401)
    assert "s3cret" not in str(caught.value)


@given(fields=st.lists(st.text(st.characters(exclude_categories=["Cs"])), max_size=3))
def test_no_guess_is_accepted(fields: list[str]) -> None:
    tokens = Tokens(Path("/nonexistent"))
    with pytest.raises(Refusal):
        tokens.caller(fields)


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
    tokens = _tokens(tmp_path, alice=b"s3cret", zoe=b"hunter2")
    assert _accepts(tokens, "s3cret")
    assert _accepts(tokens, "hunter2")
    (warning,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert warning.getMessage() == "Cannot read a token"
    assert vars(warning)["fields"]["file"] == "broken"


def test_a_missing_folder_accepts_no_caller(tmp_path: Path) -> None:
    folder = tmp_path / "tokens"
    folder.mkdir()
    tokens = _tokens(folder, alice=b"s3cret")
    assert _accepts(tokens, "s3cret")
    (folder / "alice").unlink()
    folder.rmdir()
    tokens.read()
    assert not _accepts(tokens, "s3cret")


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
    _mount(tmp_path, "..1", alice=b"old")
    tokens = Tokens(tmp_path)
    await asyncio.to_thread(tokens.read)
    assert _accepts(tokens, "old")
    reading = asyncio.create_task(tokens.run())
    _mount(tmp_path, "..2", alice=b"new")
    async with asyncio.timeout(5):
        while not _accepts(tokens, "new"):  # noqa: ASYNC110 (a thread reads)
            await asyncio.sleep(0.005)
    assert not _accepts(tokens, "old")
    reading.cancel()
    with suppress(asyncio.CancelledError):
        await reading


def test_tokens_are_never_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        _tokens(tmp_path, alice=b"s3cret")
    assert [record.message for record in caplog.records] == ["Read tokens"]
    assert not any("s3cret" in str(vars(record)) for record in caplog.records)
