"""The operator's settings: read from environment and flags, checked, and refused in one line."""

import argparse
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

import posecluster_operator
from posecluster_operator import settings
from posecluster_operator.errors import InvalidSetting
from posecluster_operator.resource.posecluster import PodDefaults, PullPolicy
from posecluster_operator.settings import PREFIX, Settings, load

pytestmark = pytest.mark.unit

FOLDER = str(Path(posecluster_operator.__file__).parents[1])
LIGHT = """
import sys
from posecluster_operator.__main__ import main
try:
    main(sys.argv[1:])
except SystemExit as end:
    assert end.code == 0, end.code
heavy = {"kopf", "kubernetes", "aiohttp", "prometheus_client"} & set(sys.modules)
assert not heavy, heavy
"""


def run_python(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", *arguments],
        env={"PYTHONPATH": FOLDER, "PATH": "", **environment},
        capture_output=True,
        text=True,
        timeout=30,
    )


def test_defaults_are_the_documented_ones() -> None:
    assert load({}, {}) == Settings()
    defaults = Settings()
    assert (defaults.port, defaults.lease_name, defaults.lease_seconds) == (9091, "posecluster-operator", 15)
    assert (defaults.request_timeout_seconds, defaults.watch_inactivity_seconds) == (10, 70)
    assert (defaults.stall_seconds, defaults.resync_seconds, defaults.workers) == (150, 90, 16)
    assert defaults.images == PodDefaults()
    assert defaults.watched_namespaces == ()


def test_each_setting_is_read_from_the_environment_and_the_flag_wins() -> None:
    for item in fields(Settings):
        allowed = item.metadata.get("allowed", ())
        one, other = (
            ("21", "22")
            if "low" in item.metadata
            else (allowed[-1], allowed[0])
            if allowed
            else ("http://one", "http://other")
            if item.name == "inference_otlp_endpoint"
            else ("one", "other")
        )
        variables = {PREFIX + item.name.upper(): one}
        if item.name == "stall_seconds":
            variables[PREFIX + "WATCH_INACTIVITY_SECONDS"] = "5"
        convert = int if "low" in item.metadata else str
        assert getattr(load(variables, {}), item.name) == convert(one)
        assert getattr(load(variables, {item.name: other}), item.name) == convert(other)
        assert getattr(load(variables, {item.name: None}), item.name) == convert(one)


def test_lists_are_split_and_each_name_counts_once() -> None:
    loaded = load({PREFIX + "NAMESPACES": " a, b,,a "}, {"inference_image_pull_secrets": "x,y.z"})
    assert loaded.watched_namespaces == ("a", "b")
    assert loaded.images.pull_secrets == ("x", "y.z")


def test_allowed_keys_are_lists() -> None:
    loaded = load(
        {}, {"allowed_pod_labels": "team, example.com/*", "allowed_pod_annotations": "example.com/a"}
    ).images
    assert loaded.allowed_labels == ("team", "example.com/*")
    assert loaded.allowed_annotations == ("example.com/a",)


def test_images_are_given_as_defaults() -> None:
    loaded = load(
        {}, {"inference_image": "registry:5000/pose@sha256:ab", "inference_image_pull_policy": "Never"}
    )
    assert loaded.images == PodDefaults(image="registry:5000/pose@sha256:ab", pull_policy=PullPolicy.NEVER)


def test_ids_of_inference_pods_are_only_those_that_are_set() -> None:
    assert (
        load({PREFIX + "INFERENCE_RUN_AS_USER": "", PREFIX + "INFERENCE_FS_GROUP": " "}, {}).images.ids == {}
    )
    variables = {PREFIX + "INFERENCE_RUN_AS_USER": "1000690000", PREFIX + "INFERENCE_RUN_AS_GROUP": "0"}
    assert load(variables, {}).images.ids == {"runAsUser": 1_000_690_000, "runAsGroup": 0}
    assert load({}, {"inference_fs_group": "0"}).images.ids == {"fsGroup": 0}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("inference_run_as_user", "0"),
        ("inference_run_as_user", "posecluster"),
        ("inference_run_as_group", "-1"),
        ("inference_fs_group", "2147483648"),
        ("inference_otlp_endpoint", "collector:4318"),
        ("inference_otlp_endpoint", "grpc://collector:4317"),
        ("inference_otlp_endpoint", "http://collector:port"),
        ("inference_otlp_endpoint", "http://[fd00::1"),
        ("inference_otlp_endpoint", "http://"),
        ("port", "65536"),
        ("port", "-1"),
        ("port", "tcp://10.0.0.1:9091"),
        ("port", "9" * 5_000),
        ("port", "9_091"),
        ("workers", "0"),
        ("workers", ""),
        ("lease_seconds", "2"),
        ("log_format", "xml"),
        ("inference_image_pull_policy", "Sometimes"),
        ("namespaces", "a,B"),
        ("namespaces", "a*"),
        ("namespaces", "x" * 64),
        ("lease_namespace", "a/b"),
        ("lease_name", ""),
        ("lease_name", "Upper"),
        ("inference_image", "two words"),
        ("inference_image", "x" * 513),
        ("inference_image_pull_secrets", "ok,../no"),
        ("allowed_pod_labels", "*"),
        ("allowed_pod_labels", "example.com/team,two words"),
        ("allowed_pod_labels", "example.com/*a"),
        ("allowed_pod_labels", "app.kubernetes.io/name"),
        ("allowed_pod_labels", "app.kubernetes.io/*"),
        ("allowed_pod_labels", "pod-template-hash"),
        ("allowed_pod_annotations", "a/b/c"),
        ("allowed_pod_annotations", "posecluster.io/*"),
        ("allowed_pod_annotations", "controller.kubernetes.io/pod-deletion-cost"),
        ("allowed_pod_annotations", "x" * 318),
        ("identity", "a\nb"),
        ("identity", "x" * 254),
        ("stall_seconds", "70"),
    ],
)
def test_a_wrong_value_is_refused_in_one_line_that_names_it(name: str, text: str) -> None:
    with pytest.raises(InvalidSetting, match=PREFIX + name.upper()) as refusal:
        load({PREFIX + name.upper(): text}, {})
    assert str(refusal.value).isprintable()
    assert len(str(refusal.value)) < 300


def test_unknown_variables_are_named() -> None:
    environment = {PREFIX + "WORKER": "1", PREFIX + "WORKERS": "1", "POSECLUSTER_PORT": "1", "HOME": "/"}
    assert settings.unknown_variables(environment) == [PREFIX + "WORKER"]


def test_every_setting_has_a_flag_with_its_meaning() -> None:
    parser = argparse.ArgumentParser(prog="x")
    settings.add_flags(parser)
    words = " ".join(parser.format_help().split())
    for item in fields(Settings):
        assert "--" + item.name.replace("_", "-") in words
        assert " ".join(item.metadata["help"].split()[:3]) in words


@pytest.mark.parametrize("flag", ["--version", "--help"])
def test_help_and_version_load_nothing_heavy(flag: str) -> None:
    done = run_python("-c", LIGHT, flag)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout


def test_a_wrong_setting_ends_the_start() -> None:
    done = run_python("-m", "posecluster_operator", "run", POSECLUSTER_OPERATOR_PORT="x")
    assert done.returncode == 1
    assert (
        done.stderr
        == "posecluster-operator: POSECLUSTER_OPERATOR_PORT='x': must be a whole number from 0 to 65535\n"
    )
