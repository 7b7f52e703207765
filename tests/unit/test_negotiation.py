"""Requests for a form of the answer are read strictly where it matters and never cause an error elsewhere."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from engines import hand_task
from posecluster_inference.errors import Reason, Refusal
from posecluster_inference.server.http.negotiation import (
    CONTENT_TYPES,
    answer_form,
    clean_request_id,
    deadline_seconds,
    new_id,
    parameters,
)
from posecluster_inference.worker.messages import AnswerForm
from posecluster_inference.worker.tasks import pose

CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
LONGEST_MS = 10_000
tenths = st.integers(0, 10)
accept_like = st.lists(
    st.sampled_from(
        ["image/", "*/*", "png", "jpeg", "application/json", ";q=", "0.5", "1e999", "nan", ",", " "]
    )
).map("".join)


# what clients send, as recorded from them or from their sources
JAVA_BEFORE_12 = "text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2"
CHROMIUM_FORM = (
    "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8,"
    "application/signed-exchange;v=b3;q=0.7"
)
FIREFOX_FORM = (
    "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/png,image/svg+xml,"
    "*/*;q=0.8"
)
CHROMIUM_IMG = "image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8"
FIREFOX_IMG = "image/avif,image/webp,image/png,image/svg+xml,image/*;q=0.8,*/*;q=0.5"
SAFARI_IMG = (
    "image/webp,image/avif,image/jxl,image/heic,image/heic-sequence,video/*;q=0.8,image/png,image/svg+xml,"
    "image/*;q=0.8,*/*;q=0.5"
)


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        (JAVA_BEFORE_12, "json"),
        (CHROMIUM_FORM, "json"),
        (FIREFOX_FORM, "json"),
        (CHROMIUM_IMG, "jpeg"),
        (FIREFOX_IMG, "png"),
        (SAFARI_IMG, "png"),
        ("application/json, text/plain, */*", "json"),  # axios
        ("", "json"),
        ("*/*", "json"),
        ("*", "json"),
        ("application/json", "json"),
        ("application/*", "json"),
        ("image/*", "jpeg"),
        ("image/jpeg", "jpeg"),
        ("image/png", "png"),
        ("image/webp", "webp"),
        ("IMAGE/PNG", "png"),
        (" image/png ; charset=x ", "png"),
        ("image/png,", "png"),
        (",, image/png", "png"),
        ("image/webp, image/png, image/jpeg", "jpeg"),
        ("image/webp, image/png", "png"),
        ("image/gif, image/webp", "webp"),
        ("image/png;q=0.5, image/webp;q=0.6", "webp"),
        ("image/png;q=0.5, image/webp; q=0.60", "webp"),
        ("application/json;q=0.9, image/webp", "webp"),
        ("text/html, */*;q=0.1", "json"),
        ("image/gif", "json"),
        ("image/gif, image/png;q=0.9", "json"),
        ("image/png;q=0", "json"),
        ("image/png;q=x", "json"),
        ("image/png;q=nan", "json"),
        ("image/png;q=-1, image/webp;q=0.1", "webp"),
        ("image/png;q=7, image/webp", "png"),
        ("image/png;q=.2, */*;q=.1", "png"),
        ("image/png;q=.2, */*;q=0.3", "json"),
        ("image/png ; q = 1.0000, */*; Q=.2", "png"),
        ("*/*, image/png", "json"),
        ("image/*, application/json", "json"),
        ("image/png, text/html", "json"),
        ("*/*;q=0.5, image/*;q=0.5", "json"),
        ("*/*;q=0.9, image/*;q=0.1", "json"),
        ("image/*, image/jpeg;q=0.1", "png"),
        ("image/jpeg;q=0, image/*", "png"),
        ("image/*, image/jpeg;q=0, image/png;q=0", "webp"),
        ("image/*;q=0, */*", "json"),
        ("*/*;q=0, image/webp;q=0.1", "webp"),
        ("application/json;q=0", "json"),
        ("*/*;q=0", "json"),
    ],
)
def test_a_picture_only_if_the_caller_prefers_pictures(accept: str, kind: str) -> None:
    assert answer_form([], accept, pose) == AnswerForm(kind)


@given(weights=st.dictionaries(st.sampled_from([*CONTENT_TYPES.values(), "image/*", "*/*", "a/b"]), tenths))
def test_a_picture_is_the_answer_only_if_accept_prefers_it_to_all_else(weights: dict[str, int]) -> None:
    accept = ", ".join(f"{name};q={weight / 10}" for name, weight in weights.items())
    kind = answer_form([], accept, pose).kind
    if kind != "json":
        liked = weights.get(CONTENT_TYPES[kind], weights.get("image/*", 0))
        others = [weight for name, weight in weights.items() if not name.startswith("image/")]
        assert liked == max(weights.values()) > max(others, default=0)


@given(accept=st.text(max_size=200) | accept_like)
def test_any_accept_gives_a_form_that_we_can_make(accept: str) -> None:
    assert answer_form([], accept, pose).kind in CONTENT_TYPES


@pytest.mark.parametrize("accept", ["image/png", "application/json", CHROMIUM_FORM, "*/*;q=0"])
@pytest.mark.parametrize(
    ("query", "form"),
    [
        ("draw=jpeg", AnswerForm("jpeg")),
        ("draw=webp", AnswerForm("webp")),
        ("keypoints=coco", AnswerForm("json", keypoints="coco")),
        ("coordinates=pixels", AnswerForm("json", in_pixels=True)),
        ("coordinates=pixels&keypoints=coco", AnswerForm("json", keypoints="coco", in_pixels=True)),
        ("dr%61w=%70ng&", AnswerForm("png")),
    ],
)
def test_query_parameters_win_over_accept(query: str, form: AnswerForm, accept: str) -> None:
    assert answer_form(parsed(query), accept, pose) == form


KNOWN = "this path takes draw, keypoints, coordinates."


@pytest.mark.parametrize(
    ("query", "detail"),
    [
        ("v=17", f"Unknown query parameter v: {KNOWN}"),
        ("Draw=png", f"Unknown query parameter Draw: {KNOWN}"),
        ("keypoints[]=coco", f"Unknown query parameter keypoints[]: {KNOWN}"),
        ("?draw=png", f"Unknown query parameter draw: {KNOWN}"),
        ("%F0%28%3Cb%3E=1", f"Unknown query parameter b: {KNOWN}"),
        ("=x", f"Unknown query parameter: {KNOWN}"),
        ("%00%0d%0a", f"Unknown query parameter: {KNOWN}"),
        (
            "a" * 8_000,
            f"Unknown query parameter {'a' * 40}: {KNOWN}",
        ),
        ("draw=gif", "The query parameter draw must be one of: jpeg, png, webp."),
        ("draw=PNG", "The query parameter draw must be one of: jpeg, png, webp."),
        ("draw", "The query parameter draw must be one of: jpeg, png, webp."),
        ("draw=%zz", "The query parameter draw must be one of: jpeg, png, webp."),
        ("draw=%ff", "The query parameter draw must be one of: jpeg, png, webp."),
        ("draw=p%00ng", "The query parameter draw must be one of: jpeg, png, webp."),
        ("draw=png;keypoints=coco", "The query parameter draw must be one of: jpeg, png, webp."),
        ("keypoints=mediapipe", "The query parameter keypoints must be one of: coco."),
        ("coordinates=px", "The query parameter coordinates must be one of: pixels."),
        ("draw=png&draw=png", "The query parameter draw is given twice: give it once."),
        (
            "draw=png&keypoints=coco&coordinates=pixels",
            "The query parameter draw requests a picture, but coordinates requests JSON: send only one.",
        ),
    ],
)
def test_other_query_parameters_are_malformed(query: str, detail: str) -> None:
    with pytest.raises(Refusal) as caught:
        answer_form(parsed(query), "*/*", pose)
    assert (caught.value.reason, caught.value.status) == (Reason.MALFORMED, 400)
    assert caught.value.detail == detail


@pytest.mark.parametrize("query", ["keypoints=coco", "keypoints=", "keypoints"])
def test_a_task_without_keypoint_sets_does_not_take_keypoints(query: str) -> None:
    with pytest.raises(Refusal) as caught:
        answer_form(parsed(query), "*/*", hand_task)
    assert (caught.value.reason, caught.value.status) == (Reason.MALFORMED, 400)
    assert caught.value.detail == "Unknown query parameter keypoints: this path takes draw, coordinates."


def test_a_path_without_query_parameters_takes_none() -> None:
    assert parameters(parsed("&"), {}) == {}
    with pytest.raises(Refusal) as caught:
        parameters(parsed("t=1"), {})
    assert caught.value.detail == "Unknown query parameter t: this path takes none."


def parsed(query: str) -> list[tuple[str, str]]:
    """A query as aiohttp gives it to a handler."""
    return list(URL.build(path="/v1/detect", query_string=query, encoded=True).query.items())


@pytest.mark.parametrize(
    ("field", "seconds"),
    [
        (None, 10.0),
        ("1", 0.001),
        (" 300 ", 0.3),
        ("000300", 0.3),
        ("10000", 10.0),
        ("10001", 10.0),
        ("9" * 5_000, 10.0),
    ],
)
def test_a_deadline_can_only_be_shorter(field: str | None, seconds: float) -> None:
    assert deadline_seconds(field, LONGEST_MS) == seconds


@pytest.mark.parametrize(
    "field",
    ["", " ", "0", "0000", "-1", "+1", "1.5", "1e3", "0x10", "1_000", "soon", "٣", "²", "5 5", "1\n2"],
)
def test_a_deadline_that_is_no_whole_number_is_malformed(field: str) -> None:
    with pytest.raises(Refusal) as caught:
        deadline_seconds(field, LONGEST_MS)
    assert (caught.value.reason, caught.value.status) == (Reason.MALFORMED, 400)


@given(
    field=st.none() | st.text(max_size=50) | st.integers().map(str),
    longest_ms=st.integers(1, 86_400_000),
)
def test_any_deadline_is_within_the_servers_or_refused(field: str | None, longest_ms: int) -> None:
    refused, seconds = None, 0.001
    try:
        seconds = deadline_seconds(field, longest_ms)
    except Refusal as refusal:
        refused = refusal.reason
    assert 0.001 <= seconds <= longest_ms / 1000
    assert refused is None or (field is not None and refused is Reason.MALFORMED)


@pytest.mark.parametrize(
    ("field", "cleaned"),
    [
        ("01JD-abc_9.x:/+=@", "01JD-abc_9.x:/+=@"),
        ("a\r\nSet-Cookie: x=1", "aSet-Cookie:x=1"),
        ("\x1b[31mred", "31mred"),
        ("x" * 4_000, "x" * 128),
        ("\N{SNOWMAN}\udcff", ""),
    ],
)
def test_a_request_id_keeps_what_is_harmless(field: str, cleaned: str) -> None:
    assert clean_request_id(field) == cleaned


@given(field=st.text(max_size=400))
def test_any_request_id_is_short_printable_ascii(field: str) -> None:
    cleaned = clean_request_id(field)
    assert len(cleaned) <= 128
    assert cleaned.isascii()
    assert all(letter.isalnum() or letter in "._:/+=@-" for letter in cleaned)
    assert clean_request_id(cleaned) == cleaned


def test_new_ids_are_ulids_of_this_moment() -> None:
    before = time.time_ns() // 1_000_000
    text = new_id()
    after = time.time_ns() // 1_000_000
    assert len(text) == 26
    number = 0
    for letter in text:
        number = number * 32 + CROCKFORD.index(letter)
    assert number < 1 << 128
    assert before <= number >> 80 <= after


def test_new_ids_do_not_repeat() -> None:
    assert len({new_id() for _ in range(1_000)}) == 1_000
