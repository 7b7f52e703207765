"""Pages of allowed origins may read answers, and no others."""

import pytest

from posecluster_inference.server.http.cors import CrossOrigin

OURS = "https://app.example"
FIELDS = "authorization,content-type"


def test_allowed_origin_may_read_answers() -> None:
    headers = CrossOrigin(frozenset({OURS, "http://localhost:3000"})).headers(OURS)

    assert headers["Access-Control-Allow-Origin"] == OURS
    assert headers["Vary"] == "Origin"
    for name in ("Retry-After", "Server-Timing", "X-Request-Id"):
        assert name in headers["Access-Control-Expose-Headers"]


@pytest.mark.parametrize(
    "origin", [None, "", "null", "https://app.example.evil", "http://app.example", "https://app.example:8443"]
)
def test_another_origin_may_not_read_answers(origin: str | None) -> None:
    cors = CrossOrigin(frozenset({OURS}))

    assert cors.headers(origin) == {"Vary": "Origin"}
    assert cors.preflight_headers(origin, "POST", FIELDS) == {}


def test_every_origin_may_read_answers_if_all_are_allowed() -> None:
    cors = CrossOrigin(frozenset({"*"}))

    assert cors.headers("null")["Access-Control-Allow-Origin"] == "*"
    assert "Vary" not in cors.headers(OURS)
    assert cors.preflight_headers(OURS, "POST", FIELDS)["Access-Control-Allow-Methods"] == "POST"


def test_without_allowed_origins_no_cors_header_is_added() -> None:
    cors = CrossOrigin(frozenset())

    assert cors.headers(OURS) == {}
    assert cors.preflight_headers(OURS, "POST", FIELDS) == {}


def test_preflight_allows_the_fields_that_it_asks_for() -> None:
    headers = CrossOrigin(frozenset({OURS})).preflight_headers(OURS, "OPTIONS, POST", FIELDS)

    assert headers["Access-Control-Allow-Headers"] == FIELDS
    assert headers["Access-Control-Allow-Methods"] == "OPTIONS, POST"


@pytest.mark.parametrize("fields", ["", "a\r\nb", "a: b", "x" * 1_025, "Ä"])
def test_preflight_echoes_nothing_but_field_names(fields: str) -> None:
    assert "Access-Control-Allow-Headers" not in CrossOrigin(frozenset({OURS})).preflight_headers(
        OURS, "POST", fields
    )
