"""A picture that killed two workers is quarantined for ten minutes; the list is bounded."""

from posecluster_inference.server.workers.quarantine import Quarantine

MINUTES_10 = 600.0
ENTRIES = 1_000


def _kill(quarantine: Quarantine, digest: bytes, *times: float) -> None:
    for now in times:
        quarantine.record(digest, now)


def test_a_picture_is_quarantined_after_its_second_worker_death() -> None:
    quarantine = Quarantine()
    assert not quarantine.holds(b"a", 0.0)
    _kill(quarantine, b"a", 0.0)
    assert not quarantine.holds(b"a", 1.0)
    _kill(quarantine, b"a", 1.0)
    assert quarantine.holds(b"a", 2.0)
    assert not quarantine.holds(b"b", 2.0)


def test_quarantine_lasts_ten_minutes_from_the_last_death() -> None:
    quarantine = Quarantine()
    _kill(quarantine, b"a", 0.0, 100.0)
    assert quarantine.holds(b"a", 100.0 + MINUTES_10 - 0.001)
    assert not quarantine.holds(b"a", 100.0 + MINUTES_10)


def test_worker_deaths_ten_minutes_apart_do_not_add_up() -> None:
    quarantine = Quarantine()
    _kill(quarantine, b"a", 0.0, MINUTES_10)
    assert not quarantine.holds(b"a", MINUTES_10)
    _kill(quarantine, b"a", MINUTES_10 + 1)
    assert quarantine.holds(b"a", MINUTES_10 + 1)


def test_a_picture_that_was_answered_is_forgiven() -> None:
    quarantine = Quarantine()
    _kill(quarantine, b"a", 0.0)
    quarantine.forgive(b"a")
    quarantine.forgive(b"never seen")
    _kill(quarantine, b"a", 1.0)
    assert not quarantine.holds(b"a", 1.0)


def test_a_picture_in_quarantine_is_not_forgiven() -> None:
    """An answer may come late: from a worker that had the picture before two others died of it."""
    quarantine = Quarantine()
    _kill(quarantine, b"a", 0.0, 1.0)
    quarantine.forgive(b"a")
    assert quarantine.holds(b"a", 2.0)
    assert not quarantine.holds(b"a", 1.0 + MINUTES_10)


def test_the_list_keeps_the_thousand_that_killed_last() -> None:
    quarantine = Quarantine()
    names = [str(number).encode() for number in range(ENTRIES)]
    for name in names:
        _kill(quarantine, name, 0.0, 0.0)
    _kill(quarantine, names[0], 1.0)
    _kill(quarantine, b"one more", 1.0, 1.0)
    held = [name for name in [*names, b"one more"] if quarantine.holds(name, 2.0)]
    assert len(held) == ENTRIES
    assert names[1] not in held, "of all it killed the longest time ago"
