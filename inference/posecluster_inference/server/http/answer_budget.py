"""The memory of answers that clients have not read yet."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from posecluster_inference.errors import Refusal

_CALLER_SHARE = 2  # one caller's answers may use half of the budget


@dataclass(slots=True)
class AnswerBudget:
    """All answers that are being written together use at most `budget_bytes`, and those of a caller half.

    Each response counts, although responses with the same cached answer share its memory: an answer that the
    cache drops is held only by them. A caller without another answer is only bound by the whole budget.
    `no_memory` creates the refusal of an answer that would exceed the budget.
    """

    budget_bytes: int
    no_memory: Callable[[], Refusal]
    held_bytes: int = 0
    _by_caller: Counter[str] = field(default_factory=Counter)

    def take(self, caller: str, size_bytes: int) -> None:
        """Count an answer that is about to be written; raises Refusal."""
        own_bytes = self._by_caller[caller]
        if self.held_bytes + size_bytes > self.budget_bytes or (
            own_bytes and own_bytes + size_bytes > self.budget_bytes // _CALLER_SHARE
        ):
            self._forget_without_answers(caller)
            raise self.no_memory()
        self.held_bytes += size_bytes
        self._by_caller[caller] += size_bytes

    def give_back(self, caller: str, size_bytes: int) -> None:
        """Record that an answer was written, or that its connection was lost."""
        self.held_bytes -= size_bytes
        self._by_caller[caller] -= size_bytes
        self._forget_without_answers(caller)

    def _forget_without_answers(self, caller: str) -> None:
        if not self._by_caller[caller]:
            del self._by_caller[caller]
