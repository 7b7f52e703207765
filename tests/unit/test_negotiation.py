"""What callers ask for is read strictly where it matters and never breaks anything."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posecluster_inference.errors import Reason, Refusal
from posecluster_inference.negotiation import (
    CONTENT_TYPES,
    answer_form,
    clean_request_id,
    deadline_seconds,
    new_id,
)

CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
LONGEST_MS = 10_000
tenths = st.integers(0, 10)
accept_like = st.lists(
    st.sampled_from(
        ["image/", "*/*", "png", "jpeg", "application/json", ";q=", "0.5", "1e999", "nan", ",", " "]
    )
).map("".join)


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        ("", "json"),
        ("*/*", "json"),
        ("application/json", "json"),
        ("application/*", "json"),
        ("image/*", "jpeg"),
        ("image/jpeg", "jpeg"),
        ("image/png", "png"),
        ("image/webp", "webp"),
        ("IMAGE/PNG", "png"),
        (" image/png ; charset=x ", "png"),
        ("image/png, image/webp", "png"),
        ("image/png;q=0.5, image/webp;q=0.6", "webp"),
        ("image/png;q=0.5, image/webp; q=0.60", "webp"),
        ("application/json;q=0.9, image/webp", "webp"),
        ("image/avif,image/webp,image/*;q=0.9,*/*;q=0.8", "webp"),
        ("text/html, */*;q=0.1", "json"),
        ("image/gif", "json"),
        ("image/png;q=0", "json"),
        ("image/png;q=x", "json"),
        ("image/png;q=nan", "json"),
        ("image/png;q=-1, image/webp;q=0.1", "webp"),
        ("image/png;q=7, image/webp", "png"),
        ("*/*, image/png", "png"),
        ("image/*, application/json", "json"),
        ("*/*;q=0.5, image/*;q=0.5", "jpeg"),
        ("*/*;q=0.9, image/*;q=0.1", "json"),
        ("image/*, image/jpeg;q=0.1", "png"),
        ("image/jpeg;q=0, image/*", "png"),
        ("image/*, image/jpeg;q=0, image/png;q=0", "webp"),
        ("application/json;q=0, */*", "jpeg"),
        ("application/*;q=0, */*;q=0.1", "jpeg"),
        ("image/*;q=0, */*", "json"),
        ("*/*;q=0, image/webp;q=0.1", "webp"),
        ("application/json;q=0", "json"),
        ("*/*;q=0", "json"),
    ],
)
def test_the_form_of_the_answer_follows_accept(accept: str, form: str) -> None:
    assert answer_form(accept) == form


@given(weights=st.dictionaries(st.sampled_from([*CONTENT_TYPES.values(), "image/*", "*/*"]), tenths))
def test_no_form_beats_one_that_the_caller_likes_more(weights: dict[str, int]) -> None:
    accept = ", ".join(f"{name};q={weight / 10}" for name, weight in weights.items())
    liked = {
        form: weights.get(name, weights.get(name.partition("/")[0] + "/*", weights.get("*/*", 0)))
        for form, name in CONTENT_TYPES.items()
    }
    best = max(liked.values())
    form = answer_form(accept)
    assert liked[form] == best if best else form == "json"


@given(accept=st.text(max_size=200) | accept_like)
def test_any_accept_gives_a_form_that_we_can_make(accept: str) -> None:
    assert answer_form(accept) in CONTENT_TYPES


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
