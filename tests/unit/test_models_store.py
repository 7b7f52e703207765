"""The folder with the model files: what is accepted and refused, and that nothing partial remains."""

import argparse
import dataclasses
import hashlib
import stat
from pathlib import Path

import pytest

from posecluster_inference.errors import ModelError
from posecluster_inference.models import cli, store
from posecluster_inference.models.catalogue import CATALOGUE
from posecluster_inference.models.sources import LocalPath, Unavailable
from posecluster_inference.worker.tasks.model_files import Model, Origin, Pinned

pytestmark = pytest.mark.unit

OFFICIAL = b"the released file" * 10
REBUILT = b"a file made again" * 9


def pinned(content: bytes, origin: Origin) -> Pinned:
    return Pinned(hashlib.sha256(content).hexdigest(), len(content), origin)


TINY = Model(
    task="pose",
    variant="tiny",
    file_name="tiny.task",
    accepted=(pinned(OFFICIAL, Origin.OFFICIAL), pinned(REBUILT, Origin.REBUILT)),
    address="http://127.0.0.1:9/tiny.task",
)


class Given:
    """A source that returns the given file, or has none; counts how often it was asked."""

    chosen = False

    def __init__(self, name: str, content: bytes | None) -> None:
        self.name, self.content, self.asked = name, content, 0

    def fetch(self, model: Model) -> bytes:
        self.asked += 1
        if self.content is None:
            raise Unavailable("is away")
        return self.content


def ignore(_line: str) -> None:
    pass


@pytest.mark.parametrize(
    ("content", "origin"),
    [(OFFICIAL, Origin.OFFICIAL), (REBUILT, Origin.REBUILT)],
    ids=["official", "rebuilt"],
)
def test_right_file_is_kept_readable_and_named_by_origin(
    tmp_path: Path, content: bytes, origin: Origin
) -> None:
    found = store.fetch(TINY, tmp_path / "new" / "folder", [Given("a", content)], ignore)
    assert found.path.read_bytes() == content
    assert found.origin is origin
    assert found.sha256 == hashlib.sha256(content).hexdigest()
    assert stat.S_IMODE(found.path.stat().st_mode) == 0o644
    assert [path.name for path in found.path.parent.iterdir()] == ["tiny.task"]


@pytest.mark.parametrize(
    "content",
    [OFFICIAL[:-1], OFFICIAL + b"x", b"X" + OFFICIAL[1:], b""],
    ids=["truncated", "longer", "changed", "empty"],
)
def test_wrong_file_is_refused_and_leaves_nothing_behind(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(ModelError, match=r"tiny\.task from a is (the wrong file|longer)") as caught:
        store.fetch(TINY, tmp_path, [Given("a", content)], ignore)
    if len(content) <= len(OFFICIAL):
        assert TINY.accepted[0].sha256 in str(caught.value)
        assert hashlib.sha256(content).hexdigest() in str(caught.value)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_failing_rename_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "tiny.task" / "in the way").mkdir(parents=True)
    with pytest.raises(ModelError, match="cannot be written"):
        store.fetch(TINY, tmp_path, [Given("a", OFFICIAL)], ignore)
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.task"]


def test_local_folder_is_preferred(tmp_path: Path) -> None:
    shelf, target, later = tmp_path / "shelf", tmp_path / "target", Given("later", OFFICIAL)
    shelf.mkdir()
    (shelf / "tiny.task").write_bytes(REBUILT)
    found = store.fetch(TINY, target, [LocalPath(shelf), later], ignore)
    assert (found.origin, later.asked) == (Origin.REBUILT, 0)


def test_wrong_file_in_a_chosen_folder_ends_the_search(tmp_path: Path) -> None:
    shelf, later = tmp_path / "shelf", Given("later", OFFICIAL)
    shelf.mkdir()
    (shelf / "tiny.task").write_bytes(b"tampered")
    with pytest.raises(ModelError, match="wrong file"):
        store.fetch(TINY, tmp_path / "target", [LocalPath(shelf), later], ignore)
    assert later.asked == 0
    assert not (tmp_path / "target").exists()


def test_absent_folder_is_named_but_absent_file_goes_on(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="nowhere is not a file"):
        store.fetch(TINY, tmp_path, [LocalPath(tmp_path / "nowhere"), Given("b", OFFICIAL)], ignore)
    assert store.fetch(TINY, tmp_path, [LocalPath(tmp_path), Given("b", OFFICIAL)], ignore).path.exists()


def test_unavailable_and_wrong_sources_fall_to_the_next_and_are_reported(tmp_path: Path) -> None:
    lines: list[str] = []
    sources = [Given("first", None), Given("second", b"a captive portal"), Given("third", OFFICIAL)]
    store.fetch(TINY, tmp_path, sources, lines.append)
    assert (tmp_path / "tiny.task").read_bytes() == OFFICIAL
    assert [line for line in lines if "first: is away" in line]
    assert [line for line in lines if "second is the wrong file" in line]


def test_error_gives_every_source_its_reason(tmp_path: Path) -> None:
    with pytest.raises(
        ModelError, match=r"is not available: first: is away; .*from second is the wrong file"
    ):
        store.fetch(TINY, tmp_path, [Given("first", None), Given("second", b"no")], ignore)


def test_right_file_here_is_not_fetched_again_and_a_wrong_one_is_replaced(tmp_path: Path) -> None:
    path, source = tmp_path / "tiny.task", Given("a", OFFICIAL)
    path.write_bytes(REBUILT)
    assert store.fetch(TINY, tmp_path, [source], ignore).origin is Origin.REBUILT
    assert source.asked == 0
    path.write_bytes(b"tampered")
    store.fetch(TINY, tmp_path, [source], ignore)
    assert path.read_bytes() == OFFICIAL


def test_start_check_distinguishes_a_tampered_file_from_a_correct_one(tmp_path: Path) -> None:
    path = tmp_path / "tiny.task"
    path.write_bytes(OFFICIAL)
    found = store.verified(tmp_path, "pose", "tiny", catalogue=[TINY])
    assert (found.path, found.sha256) == (path, TINY.accepted[0].sha256)
    path.write_bytes(OFFICIAL.replace(b"r", b"R", 1))
    with pytest.raises(ModelError, match="wrong file"):
        store.verified(tmp_path, "pose", "tiny", catalogue=[TINY])


@pytest.mark.parametrize("content", [None, b"tampered"], ids=["missing", "tampered"])
def test_start_check_says_which_command_repairs(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "tiny.task").write_bytes(content)
    with pytest.raises(ModelError) as caught:
        store.verified(tmp_path, "pose", "tiny", catalogue=[TINY])
    assert str(caught.value).endswith(
        f"; run: posecluster-inference models fetch --variant tiny --dir {tmp_path}"
    )
    with pytest.raises(ModelError, match="the known models are pose tiny"):
        store.verified(tmp_path, "pose", "huge", catalogue=[TINY])


def short(content: bytes) -> bytes:
    """Stands for `trimming.trimmed`."""
    return content.upper()


@pytest.fixture
def trimmable(monkeypatch: pytest.MonkeyPatch) -> Model:
    """TINY, whose official form can be trimmed and whose rebuilt form cannot."""
    monkeypatch.setattr(store, "trimmed", short)
    official = pinned(OFFICIAL, Origin.OFFICIAL)
    known = dataclasses.replace(official, trimmed_sha256=hashlib.sha256(short(OFFICIAL)).hexdigest())
    return dataclasses.replace(TINY, accepted=(known, TINY.accepted[1]))


def test_a_fetched_file_is_trimmed_unless_it_is_wanted_as_published(tmp_path: Path, trimmable: Model) -> None:
    path, source = tmp_path / "tiny.task", Given("a", OFFICIAL)
    found = store.fetch(trimmable, tmp_path, [source], ignore)
    assert (path.read_bytes(), found.trimmed) == (short(OFFICIAL), True)
    assert found.published_sha256 == hashlib.sha256(OFFICIAL).hexdigest()
    assert store.verified(tmp_path, "pose", "tiny", catalogue=[trimmable]) == found
    assert store.fetch(trimmable, tmp_path, [source], ignore) == found
    assert source.asked == 1

    lines: list[str] = []
    found = store.fetch(trimmable, tmp_path, [source], lines.append, as_published=True)
    assert (path.read_bytes(), found.trimmed, source.asked) == (OFFICIAL, False, 2)
    assert lines == [f"{path} is trimmed, and not as published; replacing it"]
    assert store.verified(tmp_path, "pose", "tiny", catalogue=[trimmable]) == found


def test_a_published_file_is_trimmed_without_a_source(tmp_path: Path, trimmable: Model) -> None:
    (tmp_path / "tiny.task").write_bytes(OFFICIAL)
    assert store.fetch(trimmable, tmp_path, [], ignore).trimmed
    assert (tmp_path / "tiny.task").read_bytes() == short(OFFICIAL)


def test_a_file_whose_trimmed_form_is_unknown_stays_as_published(tmp_path: Path, trimmable: Model) -> None:
    assert not store.fetch(trimmable, tmp_path, [Given("a", REBUILT)], ignore).trimmed
    assert (tmp_path / "tiny.task").read_bytes() == REBUILT


def test_a_wrong_result_of_trimming_is_not_stored(
    tmp_path: Path, trimmable: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "trimmed", bytes.title)
    with pytest.raises(ModelError, match=r"tiny\.task, trimmed, is the wrong file"):
        store.fetch(trimmable, tmp_path, [Given("a", OFFICIAL)], ignore)
    assert list(tmp_path.iterdir()) == []


def test_commands_take_a_trimmed_file_and_show_both_hashes(
    tmp_path: Path, trimmable: Model, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny, source = dataclasses.replace(trimmable, variant="full"), tmp_path / "source"
    source.write_bytes(OFFICIAL)
    assert run_command(tmp_path, "fetch", "--from", str(source), catalogue=[tiny]) == 0
    trimmed, published = (hashlib.sha256(content).hexdigest() for content in (short(OFFICIAL), OFFICIAL))
    assert f"sha256 {trimmed}, trimmed from {published}" in capsys.readouterr().out
    assert run_command(tmp_path, "list", catalogue=[tiny]) == 0
    assert capsys.readouterr().out.splitlines()[1].split()[3:6] == ["official", trimmed, published]
    source.write_bytes(short(OFFICIAL))
    words = ["fetch", "--as-published", "--from", str(source)]
    assert run_command(tmp_path, *words, catalogue=[tiny]) == 1
    assert f"{source} is trimmed, and not as published" in capsys.readouterr().err


def run_command(folder: Path, *words: str, catalogue: list[Model]) -> int:
    parser = argparse.ArgumentParser()
    cli.add_commands(parser)
    return cli.run(parser.parse_args([*words, "--dir", str(folder)]), catalogue)


def test_list_shows_each_state(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    states = {"official": OFFICIAL, "rebuilt": REBUILT, "wrong": b"tampered", "missing": None}
    models = []
    for name, content in states.items():
        models.append(dataclasses.replace(TINY, variant=name[:8], file_name=f"{name}.task"))
        if content is not None:
            (tmp_path / f"{name}.task").write_bytes(content)
    assert run_command(tmp_path, "list", catalogue=models) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert rows[0] == ["TASK", "VARIANT", "BYTES", "STATE", "SHA256", "PUBLISHED", "FILE"]
    assert [row[1] for row in rows[1:]] == [row[3] for row in rows[1:]] == list(states)


def test_verify_command_fails_for_nothing_here_and_for_a_tampered_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(tmp_path, "verify", catalogue=[TINY]) == 1
    (tmp_path / "tiny.task").write_bytes(OFFICIAL)
    assert run_command(tmp_path, "verify", catalogue=[TINY]) == 0
    assert capsys.readouterr().out.count("official sha256") == 1
    (tmp_path / "tiny.task").write_bytes(OFFICIAL[:-1])
    assert run_command(tmp_path, "verify", catalogue=[TINY]) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_fetch_command_takes_the_file_from_the_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny = dataclasses.replace(TINY, variant="full")
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    (source / "tiny.task").write_bytes(OFFICIAL)
    assert run_command(target, "fetch", "--from", str(source), catalogue=[tiny]) == 0
    assert (target / "tiny.task").read_bytes() == OFFICIAL
    (source / "tiny.task").write_bytes(b"tampered")
    (target / "tiny.task").unlink()
    assert run_command(target, "fetch", "--from", str(source), catalogue=[tiny]) == 1
    assert "wrong file" in capsys.readouterr().err
    assert list(target.iterdir()) == []


def test_fetch_command_takes_a_file_of_any_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny = dataclasses.replace(TINY, variant="full")
    source, target = tmp_path / "downloaded", tmp_path / "target"
    source.write_bytes(OFFICIAL)
    assert run_command(target, "fetch", "--from", str(source), catalogue=[tiny]) == 0
    assert (target / "tiny.task").read_bytes() == OFFICIAL
    both = [tiny, dataclasses.replace(TINY, variant="lite", file_name="lite.task")]
    assert run_command(target, "fetch", "--variant", "all", "--from", str(source), catalogue=both) == 1
    assert capsys.readouterr().err == (
        f"posecluster-inference: {source} is a single model file: give its --variant, or a folder\n"
    )
    assert not (target / "lite.task").exists()


def test_fetch_command_says_what_to_do_where_the_address_cannot_be_reached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    tiny = dataclasses.replace(TINY, variant="full")
    assert run_command(tmp_path / "target", "fetch", catalogue=[tiny]) == 1
    reported, failed = capsys.readouterr().err.splitlines()
    assert reported.startswith("posecluster-inference: tiny.task: official address: cannot be reached (")
    assert failed.startswith("posecluster-inference: tiny.task is not available: official address: cannot")
    assert failed.endswith(
        f"Download {tiny.address} on another machine and name the file with --from or "
        "POSECLUSTER_MODEL_SOURCE, or run `make models` in a checkout of PoseCluster, which builds the file "
        "from packages"
    )
    assert not (tmp_path / "target").exists()


@pytest.mark.parametrize(
    "words", [["list"], ["verify"], ["verify", "--variant", "full"], ["fetch", "--from", "n" * 300]]
)
def test_a_path_that_cannot_be_read_is_named_in_one_line(
    tmp_path: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    tiny = dataclasses.replace(TINY, variant="full")
    assert run_command(tmp_path / ("n" * 300), *words, catalogue=[tiny]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "n" * 300 in line
    assert "cannot be read: File name too long" in line


def test_folders_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    def parsed(*flags: str) -> argparse.Namespace:
        parser = argparse.ArgumentParser()
        cli.add_commands(parser)
        return parser.parse_args(["fetch", *flags])

    monkeypatch.setenv("POSECLUSTER_MODEL_DIR", "/elsewhere")
    monkeypatch.setenv("POSECLUSTER_MODEL_SOURCE", "/given")
    assert (parsed().dir, parsed().source) == ("/elsewhere", "/given")
    assert (parsed("--dir", "a").dir, parsed("--from", "b").source) == ("a", "b")
    monkeypatch.setenv("POSECLUSTER_MODEL_DIR", "")
    monkeypatch.setenv("POSECLUSTER_MODEL_SOURCE", "")
    assert (parsed().dir, parsed().source) == ("models", None)
    monkeypatch.delenv("POSECLUSTER_MODEL_DIR")
    monkeypatch.delenv("POSECLUSTER_MODEL_SOURCE")
    assert (parsed().dir, parsed().source) == ("models", None)


def test_catalogue_pins_whole_hashes_and_fixed_addresses() -> None:
    assert [model.variant for model in CATALOGUE] == ["lite", "full", "heavy"]
    for model in CATALOGUE:
        assert model.address.endswith(f"/float16/1/{model.file_name}")
        for item in model.accepted:
            assert len(bytes.fromhex(item.sha256)) == 32
        assert any(item.origin is Origin.OFFICIAL for item in model.accepted)
