"""The cache of answers, and the computations in progress that further requests can join."""

from collections import OrderedDict
from dataclasses import dataclass, field

from posecluster_inference.server.workers.jobs import Answer, AnswerKey, Job

# Limiting only the number of entries would not bound the memory, because a drawn picture can have megabytes.
_BYTES = 32 << 20
_LARGEST_SHARE = 8  # one answer may use an eighth of the memory


@dataclass(slots=True)
class AnswerCache:
    """A cache that drops the least recently used answers first; 0 `entries` disable it."""

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
        """Store an answer; return False if it is too large or the cache is disabled."""
        if not self.entries or len(answer.body) > _BYTES // _LARGEST_SHARE:
            return False
        replaced = self._answers.pop(key, None)
        self._bytes += len(answer.body) - (len(replaced.body) if replaced else 0)
        self._answers[key] = answer
        while len(self._answers) > self.entries or self._bytes > _BYTES:
            _key, dropped = self._answers.popitem(last=False)
            self._bytes -= len(dropped.body)
        return True

    def forget(self, owner: str) -> None:
        """Remove the answers that are only for `owner`."""
        self._remove([key for key in self._answers if key.owner == owner])

    def forget_worker(self, worker: int) -> None:
        """Remove the answers of a worker that has ended, which limits how long a false answer lives."""
        self._remove([key for key, answer in self._answers.items() if answer.worker == worker])

    def _remove(self, keys: list[AnswerKey]) -> None:
        for key in keys:
            self._bytes -= len(self._answers.pop(key).body)


@dataclass(slots=True)
class Flights:
    """Jobs that further requests with the same key can join (single flight).

    The answer of a job is stored in the cache when the job ends, even if no request waits for it any more. At
    any time, a request therefore finds either the job or its answer.
    """

    cache: AnswerCache
    _jobs: dict[AnswerKey, Job] = field(default_factory=dict)

    def get(self, key: AnswerKey) -> Job | None:
        """Return the job to join; None if there is none, or if it has failed or was abandoned."""
        job = self._jobs.get(key)
        return None if job is None or job.is_lost else job

    def add(self, job: Job, *, joinable: bool) -> None:
        """Store the answer of `job` when it ends; until then, other requests can join it if `joinable`."""
        if joinable:
            self._jobs[job.key] = job
        job.done.add_done_callback(lambda _done: self._land(job))

    def _land(self, job: Job) -> None:
        if not job.is_lost:
            self.cache.put(job.key, job.done.result())
        if self._jobs.get(job.key) is job:
            del self._jobs[job.key]
