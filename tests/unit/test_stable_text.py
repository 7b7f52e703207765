"""Messages of other components are made stable before they enter a condition."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posecluster_operator.resource.stable_text import LONGEST, stable

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ("lookup r.example on 10.96.0.10:53: no such host", "lookup r.example on address: no such host"),
        ("read udp [fd00::1]:3021->[fd00::a]:53: i/o timeout", "read udp address->address: i/o timeout"),
        ("version 1.34.0 of 1.2 at sha256:" + "ab" * 32, "version 1.34.0 of 1.2 at sha256:" + "ab" * 32),
        ("pod 11111111-2222-3333-4444-555555555555 \x1b[31mred\x00\n\tline", "pod id ?[31mred? line"),
        ("E0000 00:00:1700000000.123456      12 graph.cc:1] No model", "graph.cc:1] No model"),
        ("name demo-pose-pods of demo-pose-2x", "name demo-pose-pods of demo-pose"),
    ],
)
def test_volatile_parts_of_a_message_are_removed(message: str, said: str) -> None:
    assert stable(message, prefix="demo-pose") == said


def test_an_image_name_is_quoted_unchanged() -> None:
    image = "10.1.2.3:5000/pose@sha256:" + "ab" * 32
    assert stable(f'pull "{image}" from 10.1.2.3:5000', keep=[image]) == f'pull "{image}" from address'


@given(st.text(), st.lists(st.text()), st.text())
def test_any_text_becomes_one_bounded_printable_line(message: str, keep: list[str], prefix: str) -> None:
    line = stable(message, keep=keep, prefix=prefix)
    assert len(line) <= LONGEST
    assert line.isprintable()
