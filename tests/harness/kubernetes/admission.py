"""Admission control that interferes: policies in the API server, and a webhook of the test."""

import base64
import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from harness.kubernetes.certificates import encoded, make_certificates
from harness.kubernetes.resources import BY_PLURAL
from harness.kubernetes.waiting import Json, wait_until

if TYPE_CHECKING:
    from harness.kubernetes.api import Api

_ADMISSION = "admissionregistration.k8s.io/v1"
_EFFECT_SECONDS = 20.0  # the API server reads its policies from a watch


def is_refused(api: "Api", manifest: Json) -> bool:
    """Whether admission would refuse to create this."""
    kind = BY_PLURAL[_plural(manifest["kind"])]
    path = kind.path(manifest["metadata"]["namespace"])
    return api.request("POST", path, body=manifest, params={"dryRun": "All"}).status_code in {403, 422, 500}


@contextmanager
def denied(api: "Api", sample: Json, *, expression: str, message: str) -> Iterator[None]:
    """Refuse objects of the sample's kind and namespace for which the CEL `expression` is false.

    The sample must be one of them: the policy counts as in force once it is refused.
    """
    namespace, plural = sample["metadata"]["namespace"], _plural(sample["kind"])
    name = f"deny-{plural}-{namespace}"
    policy = {
        "failurePolicy": "Fail",
        "matchConstraints": {"resourceRules": [_rule(plural)]},
        "validations": [{"expression": expression, "message": message}],
    }
    binding = {
        "policyName": name,
        "validationActions": ["Deny"],
        "matchResources": {"namespaceSelector": _only(namespace)},
    }
    api.create(_object("ValidatingAdmissionPolicy", name, spec=policy))
    api.create(_object("ValidatingAdmissionPolicyBinding", name, spec=binding))
    try:
        wait_until(lambda: is_refused(api, sample), _EFFECT_SECONDS, f"{name} in force")
        yield
    finally:
        for one in ("validatingadmissionpolicybindings", "validatingadmissionpolicies"):
            api.delete(one, None, name)
    wait_until(lambda: not is_refused(api, sample), _EFFECT_SECONDS, f"{name} out of force")


class Webhook:
    """An admission webhook on loopback. `behave` says what it does with what it is asked:

    allow; deny; hang (no answer until it behaves otherwise); patch (JSON patch `patch`).
    """

    def __init__(self, folder: Path) -> None:
        make_certificates(folder)
        self.reviews: list[Json] = []
        self.patch: list[Json] = []
        self._does = "allow"
        self._changed = threading.Condition()
        self._ca_file = folder / "ca.crt"
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "apiserver.crt", folder / "apiserver.key")
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, name="webhook", daemon=True)

    def __enter__(self) -> "Webhook":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.behave("allow")
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)

    def behave(self, does: Literal["allow", "deny", "hang", "patch"]) -> None:
        """From now on; requests that hang are let go."""
        with self._changed:
            self._does = does
            self._changed.notify_all()

    @contextmanager
    def registered(
        self, api: "Api", sample: Json, *, mutating: bool = False, timeout_seconds: int = 2
    ) -> Iterator[None]:
        """Ask it about every write of objects of the sample's kind and namespace."""
        namespace, plural = sample["metadata"]["namespace"], _plural(sample["kind"])
        kind = "MutatingWebhookConfiguration" if mutating else "ValidatingWebhookConfiguration"
        name = f"hook-{plural}-{namespace}"
        hook = {
            "name": "hook.example.test",
            "clientConfig": {
                "url": f"https://127.0.0.1:{self._server.server_address[1]}/",
                "caBundle": encoded(self._ca_file),
            },
            "rules": [_rule(plural)],
            "namespaceSelector": _only(namespace),
            "timeoutSeconds": timeout_seconds,
            "failurePolicy": "Fail",
            "sideEffects": "None",
            "admissionReviewVersions": ["v1"],
        }

        def asked() -> bool:
            api.request("POST", BY_PLURAL[plural].path(namespace), body=sample, params={"dryRun": "All"})
            return bool(self.reviews)

        api.create(_object(kind, name, webhooks=[hook]))
        try:
            wait_until(asked, _EFFECT_SECONDS, f"{name} in force")
            yield
        finally:
            api.delete(_plural(kind), None, name)

    def _answer(self, review: Json) -> Json:
        response: Json = {"uid": review["request"]["uid"], "allowed": True}
        with self._changed:
            self.reviews.append(review["request"])
            self._changed.wait_for(lambda: self._does != "hang", 60)
            if self._does == "deny":
                status = {"code": 403, "message": "example.test has no more GPUs"}
                response |= {"allowed": False, "status": status}
            elif self._does == "patch":
                patch = base64.b64encode(json.dumps(self.patch).encode()).decode()
                response |= {"patchType": "JSONPatch", "patch": patch}
        return {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response}

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        answer = self._answer

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                review = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                body = json.dumps(answer(review)).encode()
                try:
                    self.send_response(200)
                    self.send_header("Content-Type", "application/json")
                    self.send_header("Content-Length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body)
                except OSError:
                    self.close_connection = True  # the API server did not wait

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  as it is called
                pass

        return Handler


def _plural(kind: str) -> str:
    return next(one.plural for one in BY_PLURAL.values() if one.name == kind)


def _object(kind: str, name: str, **fields: Any) -> Json:
    return {"apiVersion": _ADMISSION, "kind": kind, "metadata": {"name": name}, **fields}


def _rule(plural: str) -> Json:
    kind = BY_PLURAL[plural]
    return {
        "apiGroups": [kind.group],
        "apiVersions": [kind.version],
        "operations": ["CREATE", "UPDATE"],
        "resources": [plural],
        "scope": "Namespaced",
    }


def _only(namespace: str) -> Json:
    return {"matchLabels": {"kubernetes.io/metadata.name": namespace}}
