"""How answers of the API server become errors."""

import json

import pytest

from posecluster_operator.errors import (
    Conflict,
    Forbidden,
    KubeError,
    NamespaceTerminating,
    NotFound,
    Rejected,
    Retryable,
)
from posecluster_operator.kube.responses import read_object

pytestmark = pytest.mark.unit

APPLY, GET = "apply deployments.apps ns/x", "get deployments.apps ns/x"
NO_RIGHT = (
    'deployments.apps "x" is forbidden: User "system:serviceaccount:a:b" cannot patch resource "deployments"'
    ' in API group "apps" in the namespace "ns"'
)
QUOTA = 'services "x" is forbidden: exceeded quota: none, requested: count/services=1, used: 0, limited: 0'
NAMESPACE_ENDS = (
    'services "x" is forbidden: unable to create new content in namespace ns because it is being terminated'
)
TYPED = "failed to create typed patch object (ns/x; apps/v1, Kind=Deployment): .spec.foo: field not declared"


def _answer(
    what: str, status: int, message: str, headers: dict[str, str] | None = None, **more: object
) -> None:
    body = json.dumps({"kind": "Status", "message": message, **more}).encode()
    read_object(what, status, body, headers or {})


@pytest.mark.parametrize(
    ("what", "status", "message", "error"),
    [
        (GET, 404, 'deployments.apps "x" not found', NotFound),
        (APPLY, 404, 'namespaces "ns" not found', Rejected),
        (APPLY, 409, "the object has been modified", Conflict),
        (APPLY, 422, 'Service "x" bad: metadata.uid: Invalid value: "u": field is immutable', Conflict),
        (APPLY, 403, NO_RIGHT, Forbidden),
        (GET, 403, 'forbidden: User "system:anonymous" cannot get path "/apis"', Forbidden),
        (APPLY, 403, QUOTA, Rejected),
        (APPLY, 403, 'pods "x" is forbidden: violates PodSecurity "restricted:latest"', Rejected),
        (APPLY, 403, NAMESPACE_ENDS, NamespaceTerminating),
        (APPLY, 403, 'admission webhook "a.b" denied the request: no', Rejected),
        (APPLY, 400, "bad", Rejected),
        (APPLY, 413, "too large", Rejected),
        (APPLY, 415, "unsupported", Rejected),
        (APPLY, 422, 'Deployment.apps "x" is invalid', Rejected),
        (APPLY, 500, TYPED, Rejected),
        (APPLY, 500, 'unable to convert "abc" to int32', Rejected),
        (APPLY, 500, 'failed calling webhook "a.b": connection refused', Retryable),
        (GET, 401, "Unauthorized", Retryable),
        (GET, 408, "slow", Retryable),
        (GET, 410, "The provided continue parameter is too old", Retryable),
        (GET, 429, "too many requests", Retryable),
        (GET, 500, "etcdserver: request timed out", Retryable),
        (GET, 503, "apiserver not ready", Retryable),
        (GET, 504, "Timeout", Retryable),
    ],
)  # fmt: skip
def test_status_codes_become_errors(what: str, status: int, message: str, error: type[KubeError]) -> None:
    with pytest.raises(error) as caught:
        _answer(what, status, message)
    assert type(caught.value) is error
    assert caught.value.status == status
    assert message in caught.value.message


@pytest.mark.parametrize("status", [302, 400, 403, 404, 409, 422, 502])
def test_an_error_page_of_a_proxy_is_not_taken_for_the_api_servers_answer(status: int) -> None:
    with pytest.raises(Retryable):
        read_object(GET, status, b"<html>404 Not Found</html>", {})
    with pytest.raises(Retryable):
        read_object(GET, status, b'{"error": "no"}', {})


def test_a_kind_that_is_not_served_is_not_found() -> None:
    with pytest.raises(NotFound):
        read_object(GET, 404, b"404 page not found\n", {})


@pytest.mark.parametrize("body", [b"", b'{"kind": "Deploym', b"[]", b"null", b"\xff\xfe"])
def test_an_unreadable_success_is_tried_again(body: bytes) -> None:
    with pytest.raises(Retryable):
        read_object(GET, 200, body, {})


def test_a_success_is_the_object() -> None:
    assert read_object(GET, 201, b'{"kind": "Lease"}', {}) == {"kind": "Lease"}


@pytest.mark.parametrize(
    ("headers", "details", "seconds"),
    [
        ({"Retry-After": "7"}, None, 7),
        ({}, {"retryAfterSeconds": 3}, 3),
        ({"Retry-After": "1"}, {"retryAfterSeconds": 3}, 1),
        ({"Retry-After": "999999999"}, None, 120),
        ({"Retry-After": "-5"}, None, 0),
        ({"Retry-After": "9" * 40}, None, 0),
        ({"Retry-After": "Fri, 07 Nov 2036 23:59:59 GMT"}, None, 0),
        ({}, "no", 0),
        ({}, None, 0),
    ],
)  # fmt: skip
def test_retry_after_is_read_and_bounded(headers: dict[str, str], details: object, seconds: float) -> None:
    with pytest.raises(Retryable) as caught:
        _answer(GET, 429, "later", headers, details=details)
    assert caught.value.retry_after_seconds == seconds


def test_messages_are_bounded() -> None:
    with pytest.raises(Rejected) as caught:
        _answer(APPLY, 422, "x" * 1_000_000)
    assert len(str(caught.value)) < 1_200
