"""Settings come from flags, else the environment, else the table; a wrong one is named in one line."""

import argparse
import os
import subprocess
import sys
from dataclasses import Field, fields
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import posecluster_inference
from posecluster_inference.errors import InvalidSetting
from posecluster_inference.settings import PREFIX, Settings, add_flags, load, unknown_variables

NUMBERS = [item for item in fields(Settings) if item.type is int]
FRAME_BYTES = 1 << 28  # of a payload on a worker's pipe, see wire.py


def _load(**values: str) -> Settings:
    return load({PREFIX + name.upper(): value for name, value in values.items()}, {})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("host", ""),
        ("port", 8080),
        ("admin_port", 9090),
        ("model_variant", "full"),
        ("max_body_bytes", 10_485_760),
        ("max_pixels", 25_000_000),
        ("max_side_pixels", 16_384),
        ("deadline_ms", 10_000),
        ("hang_limit_ms", 5_000),
        ("drain_delay_ms", 15_000),
        ("rate_limit_per_minute", 0),
        ("rate_limit_burst", 10),
        ("trusted_proxies", ""),
        ("recycle_requests", 5_000),
        ("recycle_growth_percent", 150),
        ("max_connections", 512),
        ("header_timeout_ms", 5_000),
        ("body_timeout_ms", 60_000),
        ("body_bytes_per_second", 50_000),
        ("allowed_origins", ""),
        ("request_log", "none"),
        ("idle_timeout_ms", 75_000),
        ("write_timeout_ms", 10_000),
    ],
)
def test_defaults_are_those_of_the_limits_table(name: str, value: object) -> None:
    assert getattr(load({}, {}), name) == value


def test_environment_beats_the_default_and_a_flag_beats_the_environment() -> None:
    environment = {"POSECLUSTER_PORT": " 8001\n", "POSECLUSTER_MODEL_VARIANT": "lite"}
    settings = load(environment, {"port": "8002", "model_variant": None, "command": "serve"})
    assert (settings.port, settings.model_variant) == (8002, "lite")


def test_every_setting_is_a_flag() -> None:
    parser = argparse.ArgumentParser()
    add_flags(parser)
    words = [word for item in fields(Settings) for word in ("--" + item.name.replace("_", "-"), "5")]
    assert vars(parser.parse_args(words)) == {item.name: "5" for item in fields(Settings)}
    assert set(vars(parser.parse_args([])).values()) == {None}


@pytest.mark.parametrize("item", NUMBERS, ids=lambda item: item.name)
def test_numbers_have_bounds_that_are_allowed_themselves(item: Field[Any]) -> None:
    low, high = item.metadata["low"], item.metadata["high"]
    assert getattr(_load(**{item.name: str(low)}), item.name) == low
    assert getattr(_load(**{item.name: str(high)}), item.name) == high
    for outside in (low - 1, high + 1):
        with pytest.raises(InvalidSetting, match=rf"^{PREFIX}{item.name.upper()}=.* from {low} to {high}$"):
            _load(**{item.name: str(outside)})


@pytest.mark.parametrize("text", ["", "x", "1.5", "1e3", "+5", "0x10", "1_000", "٣", "²", "5 6", "inf"])
def test_a_number_is_plain_digits(text: str) -> None:
    with pytest.raises(InvalidSetting, match="POSECLUSTER_DEADLINE_MS"):
        _load(deadline_ms=text)


@pytest.mark.parametrize("text", ["0" * 5_000 + "5", "9" * 5_000, "0" * 20 + "5"])
def test_a_number_with_too_many_digits_is_refused(text: str) -> None:
    with pytest.raises(InvalidSetting, match=r"^POSECLUSTER_DEADLINE_MS="):
        _load(deadline_ms=text)
    assert _load(deadline_ms="0" * 19 + "5").deadline_ms == 5


@given(text=st.text(max_size=20) | st.from_regex(r"-?[0-9]{1,20}", fullmatch=True))
def test_any_text_gives_a_number_within_bounds_or_one_line(text: str) -> None:
    said, value = "POSECLUSTER_DEADLINE_MS=", 1
    try:
        value = _load(deadline_ms=text).deadline_ms
    except InvalidSetting as error:
        said = str(error)
    assert 1 <= value <= 86_400_000
    assert said.startswith("POSECLUSTER_DEADLINE_MS=")
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize(
    ("name", "text"),
    [("model_variant", "huge"), ("model_variant", "Full"), ("model_task", "hands"), ("log_format", "")],
)
def test_a_choice_names_what_is_allowed(name: str, text: str) -> None:
    with pytest.raises(InvalidSetting, match=f"^{PREFIX}{name.upper()}=.*must be one of "):
        _load(**{name: text})


def test_a_wrong_value_is_cut_in_the_message() -> None:
    with pytest.raises(InvalidSetting) as caught:
        _load(port="\n" + "9" * 10_000)
    assert len(str(caught.value)) < 200
    assert "\n" not in str(caught.value)


def test_trusted_proxies_are_a_comma_list_of_networks() -> None:
    networks = _load(trusted_proxies=" 10.0.0.0/8 , 2001:db8::/32,192.0.2.1,").proxy_networks
    assert [str(network) for network in networks] == ["10.0.0.0/8", "2001:db8::/32", "192.0.2.1/32"]


@pytest.mark.parametrize(
    ("text", "network"),
    [("::ffff:10.0.0.0/104", "10.0.0.0/8"), ("::ffff:192.0.2.1", "192.0.2.1/32"), ("::/0", "::/0")],
)
def test_a_network_of_mapped_addresses_is_the_ipv4_network(text: str, network: str) -> None:
    assert [str(one) for one in _load(trusted_proxies=text).proxy_networks] == [network]


@pytest.mark.parametrize("text", ["proxy.example", "10.0.0.1/8", "10.0.0.0/33", "10.0.0.0/8;10.1.0.0/16"])
def test_a_wrong_proxy_network_stops_the_start(text: str) -> None:
    with pytest.raises(InvalidSetting, match=r"^POSECLUSTER_TRUSTED_PROXIES: "):
        _load(trusted_proxies=text)


def test_allowed_origins_are_a_comma_list_as_browsers_send_them() -> None:
    listed = "https://app.example.com, http://localhost:3000,http://[::1]:8000,capacitor://localhost,"
    assert _load(allowed_origins=listed).origins == (
        "https://app.example.com",
        "http://localhost:3000",
        "http://[::1]:8000",
        "capacitor://localhost",
    )
    assert _load(allowed_origins="*").origins == ("*",)
    assert _load().origins == ()


@pytest.mark.parametrize(
    "text",
    [
        "app.example.com",
        "https://app.example.com/",
        "https://app.example.com/page",
        "https://App.example.com",
        "https://*.example.com",
        "https://app.example.com:443",
        "http://localhost:80",
        "https://a:b@app.example.com",
        "https://app.example.com https://b.example.com",
        "https://bücher.example",
        "null",
        "//app.example.com",
    ],
)
def test_an_origin_that_no_browser_sends_stops_the_start(text: str) -> None:
    with pytest.raises(InvalidSetting, match=r"^POSECLUSTER_ALLOWED_ORIGINS: .*scheme://host\[:port\]"):
        _load(allowed_origins=text)


def test_every_origin_is_given_without_a_list_and_without_tokens(tmp_path: Path) -> None:
    with pytest.raises(InvalidSetting, match=r"^POSECLUSTER_ALLOWED_ORIGINS: .*not both$"):
        _load(allowed_origins="*,https://app.example.com")
    with pytest.raises(InvalidSetting, match=r"^POSECLUSTER_ALLOWED_ORIGINS: .*list the origins"):
        _load(allowed_origins="*", auth_tokens_dir=str(tmp_path))
    both = _load(allowed_origins="https://app.example.com", auth_tokens_dir=str(tmp_path))
    assert both.origins == ("https://app.example.com",)


def test_both_ports_must_differ_unless_both_are_free_ones() -> None:
    with pytest.raises(InvalidSetting, match=r"^POSECLUSTER_ADMIN_PORT=8080: "):
        _load(admin_port="8080")
    settings = _load(port="0", admin_port="0")
    assert (settings.port, settings.admin_port) == (0, 0)


def test_the_folder_of_tokens_must_exist(tmp_path: Path) -> None:
    assert _load(auth_tokens_dir=str(tmp_path)).auth_tokens_dir == str(tmp_path)
    with pytest.raises(InvalidSetting, match=r"^POSECLUSTER_AUTH_TOKENS_DIR="):
        _load(auth_tokens_dir=str(tmp_path / "absent"))


@pytest.mark.parametrize("percent", [1, 50, 100])
def test_a_growth_limit_below_the_initial_memory_is_refused(percent: int) -> None:
    with pytest.raises(InvalidSetting, match=rf"^POSECLUSTER_RECYCLE_GROWTH_PERCENT={percent}: "):
        _load(recycle_growth_percent=str(percent))
    assert [_load(recycle_growth_percent=text).recycle_growth_percent for text in ("0", "101")] == [0, 101]


def test_the_largest_body_and_the_largest_drawn_picture_fit_a_frame() -> None:
    highest = {item.name: item.metadata["high"] for item in NUMBERS}
    assert highest["max_body_bytes"] <= FRAME_BYTES
    # PNG that does not compress: 3 bytes a pixel, one a row, and zlib's and the chunks' own
    rows, pixel_bytes = highest["max_side_pixels"], 3 * highest["max_pixels"]
    assert rows + pixel_bytes * 1.001 + 1_024 <= FRAME_BYTES


def test_variables_that_no_setting_has_are_found() -> None:
    environment = {PREFIX + item.name.upper(): "" for item in fields(Settings)}
    assert unknown_variables(environment) == []
    environment |= {"POSECLUSTER_WORKER": "2", "POSECLUSTER_": "", "PORT": "1", "posecluster_port": "1"}
    assert unknown_variables(environment) == ["POSECLUSTER_", "POSECLUSTER_WORKER"]


def test_the_server_warns_of_a_variable_that_no_setting_has(tmp_path: Path) -> None:
    """The server does not start without a model; before that it logs the name, not the value."""
    done = subprocess.run(
        [sys.executable, "-m", "posecluster_inference", "serve"],
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(Path(posecluster_inference.__file__).parents[1]),
            "POSECLUSTER_MODEL_DIR": str(tmp_path),
            "POSECLUSTER_WORKER": "s3cret",
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    warning, *rest = done.stderr.splitlines()
    assert warning.endswith(" WARNING Ignored an unknown setting name=POSECLUSTER_WORKER")
    assert [line.partition(":")[0] for line in rest] == ["posecluster-inference"]
    assert "s3cret" not in done.stderr
