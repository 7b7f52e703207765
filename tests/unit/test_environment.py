"""Each setting of the server has a field in the spec or a reason not to; both have equal bounds."""

import random
import resource
from dataclasses import fields
from typing import Any

import pytest

from harness import crd
from harness.spec_generator import SpecGenerator
from posecluster_inference import settings as server
from posecluster_operator.builders.environment import FIELDS, WITHOUT_FIELD, environment
from posecluster_operator.resource.parsing import parse_spec

pytestmark = pytest.mark.unit

SETTINGS = {item.name.upper(): item for item in fields(server.Settings)}
# computed by the operator from other fields
COMPUTED = {"WORKERS", "QUEUE_LENGTH"}


def test_every_setting_of_the_server_has_a_field_or_a_reason_not_to() -> None:
    assert FIELDS.keys() | WITHOUT_FIELD.keys() == SETTINGS.keys()
    assert FIELDS.keys() & WITHOUT_FIELD.keys() == set()
    assert len(set(FIELDS.values())) == len(FIELDS)
    leaves = {node.name for node in crd.nodes()}
    assert {f"spec.{field}" for field in FIELDS.values()} <= leaves
    assert all(WITHOUT_FIELD.values())


@pytest.fixture
def _many_descriptors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _kind: (1 << 30, 1 << 30))


def settings_of(spec: dict[str, Any]) -> server.Settings:
    """The server's settings in a pod; the folder of tokens is only there in one."""
    values = environment(parse_spec(spec))
    if "POSECLUSTER_AUTH_TOKENS_DIR" in values:
        values["POSECLUSTER_AUTH_TOKENS_DIR"] = "/tmp"
    assert server.unknown_variables(values) == []
    return server.load(values, {})


def test_defaults_of_the_spec_are_those_of_the_server() -> None:
    ours, theirs = settings_of({}), server.Settings()
    differing = {name for name in FIELDS if getattr(ours, name.lower()) != getattr(theirs, name.lower())}
    assert differing == COMPUTED
    assert (ours.workers, ours.queue_length) == (2, 16)


@pytest.mark.usefixtures("_many_descriptors")
@pytest.mark.parametrize("setting", FIELDS)
def test_a_field_reaches_the_server_which_takes_each_value_that_the_crd_allows(setting: str) -> None:
    default = getattr(settings_of({}), setting.lower())
    values = {
        getattr(settings_of(bound.inside), setting.lower())
        for bound in crd.bounds()
        if bound.name.partition("[]")[0] == f"spec.{FIELDS[setting]}"
    }
    assert values
    assert values != {default} or setting == "MODEL_TASK", "its one value"


@pytest.mark.usefixtures("_many_descriptors")
def test_the_server_takes_the_settings_of_every_valid_spec(seed: int) -> None:
    generator = SpecGenerator(random.Random(seed))
    for _ in range(200):
        settings = settings_of(generator.valid())
        assert settings.queue_length > 0
        assert settings.workers > 0
