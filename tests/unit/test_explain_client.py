"""The address at which `explain` queries the operator in its own pod."""

import pytest

from posecluster_operator.explain.client import NoAnswer, operator_place, own_url
from posecluster_operator.settings import Settings

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("", "http://localhost:9091"),
        ("0.0.0.0", "http://127.0.0.1:9091"),
        ("::", "http://[::1]:9091"),
        ("fd00::5", "http://[fd00::5]:9091"),
        (" 10.0.0.5, fd00::5", "http://10.0.0.5:9091"),
    ],
)
def test_the_operator_is_queried_at_the_address_it_listens_on(host: str, url: str) -> None:
    assert own_url(Settings(host=host)) == url


def test_the_operators_port_comes_from_its_settings() -> None:
    assert own_url(Settings(host="::1", port=8_000)) == "http://[::1]:8000"


async def test_in_the_operators_own_pod_it_is_queried_directly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POD_ID", "operator-0")
    assert await operator_place(None, Settings()) == ("http://localhost:9091", None)
    monkeypatch.delenv("POD_ID")
    with pytest.raises(NoAnswer):
        await operator_place(None, Settings())
