"""Which watched namespaces the operator can read: noted per read, and logged once per namespace."""

import logging

import pytest

from posecluster_operator.admin.namespaces import ALL, Namespaces

pytestmark = pytest.mark.unit

DENIED, AGAIN = "Namespace is not watched, reads are denied", "Namespace is watched again"


@pytest.fixture(autouse=True)
def _info(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)


def lines(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    return [(one.message, one.fields["namespace"]) for one in caplog.records]  # type: ignore[attr-defined]


def test_a_namespace_is_logged_once_until_all_its_reads_are_allowed(caplog: pytest.LogCaptureFixture) -> None:
    namespaces = Namespaces(["a", "b"])
    for _ in range(3):
        namespaces.deny("b", "list pods", "denied")
        namespaces.deny("b", "watch pods", "denied")
        namespaces.allow("a", "list pods")
    assert namespaces.denied == ("b",)
    namespaces.allow("b", "list pods")
    assert namespaces.denied == ("b",), "the watch is still denied"
    namespaces.allow("b", "watch pods")
    namespaces.allow("b", "watch pods")
    assert namespaces.denied == ()
    assert lines(caplog) == [(DENIED, "b"), (AGAIN, "b")]


def test_all_namespaces_count_as_one(caplog: pytest.LogCaptureFixture) -> None:
    namespaces = Namespaces([])
    assert (namespaces.names, namespaces.of("a/demo"), namespaces.of("")) == ((ALL,), ALL, ALL)
    namespaces.deny("a", "get poseclusters", "denied")
    namespaces.allow("b", "get poseclusters")
    assert namespaces.denied == (ALL,), "another namespace's read says nothing about it"
    namespaces.allow("a", "get poseclusters")
    assert lines(caplog) == [(DENIED, "*"), (AGAIN, "*")]


def test_what_this_process_no_longer_tries_is_forgotten(caplog: pytest.LogCaptureFixture) -> None:
    namespaces = Namespaces(["a", "b"])
    namespaces.deny("a", "list pods", "denied")
    assert namespaces.is_denied("a", "list pods")
    assert not namespaces.is_denied("a", "watch pods")
    namespaces.forget()
    assert namespaces.denied == ()
    assert lines(caplog) == [(DENIED, "a")]
