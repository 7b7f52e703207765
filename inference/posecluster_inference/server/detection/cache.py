"""Answers by content: kept ones, and those being computed right now."""

from collections import OrderedDict
from dataclasses import dataclass, field

from posecluster_inference.server.workers.jobs import Answer, AnswerKey, Job

# a drawn picture can be megabytes: entries alone would not bound the memory
_BYTES = 32 << 20
_LARGEST_SHARE = 8  # one answer may take an eighth of it


@dataclass(slots=True)
class AnswerCache:
    """Least recently used answers are dropped first; `entries` 0 keeps none."""

    entries: int
    _answers: OrderedDict[AnswerKey, Answer] = field(default_factory=OrderedDict)
    _bytes: int = 0

    def get(self, key: AnswerKey) -> Answer | None:
        answer = self._answers.get(key)
        if answer is not None:
            self._answers.move_to_end(key)
        return answer

    def __contains__(self, key: AnswerKey) -> bool:
        return key in self._answers

    def put(self, key: AnswerKey, answer: Answer) -> bool:
        """Keep an answer; False when it is not worth its place."""
        if not self.entries or len(answer.body) > _BYTES // _LARGEST_SHARE:
            return False
        replaced = self._answers.pop(key, None)
        self._bytes += len(answer.body) - (len(replaced.body) if replaced else 0)
        self._answers[key] = answer
        while len(self._answers) > self.entries or self._bytes > _BYTES:
            _key, dropped = self._answers.popitem(last=False)
            self._bytes -= len(dropped.body)
        return True


@dataclass(slots=True)
class Flights:
    """Jobs that a further caller with the same picture can wait for (single flight).

    A job's answer goes to the cache when it lands, whoever still waits for it: at any moment a caller
    finds the one or the other.
    """

    cache: AnswerCache
    _jobs: dict[AnswerKey, Job] = field(default_factory=dict)

    def get(self, key: AnswerKey) -> Job | None:
        """Return the job to join, if there is one that has an answer or may get it."""
        job = self._jobs.get(key)
        return None if job is None or job.is_lost else job

    def add(self, job: Job, *, joinable: bool) -> None:
        """Follow a job to its end; a joinable one is there for others meanwhile."""
        if joinable:
            self._jobs[job.key] = job
        job.done.add_done_callback(lambda _done: self._land(job))

    def _land(self, job: Job) -> None:
        if not job.is_lost:
            self.cache.put(job.key, job.done.result())
        if self._jobs.get(job.key) is job:
            del self._jobs[job.key]
