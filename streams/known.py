"""What a worker knows: every stone, the rules, and which facts have their receipts. Three topics, followed to their ends."""

from __future__ import annotations

from pathlib import Path

from connectors.log.tail import LogTail
from runtime.health import Check
from runtime.settings import KafkaSettings
from runtime.stretches import Stretches
from schemas.errors import Fatal
from streams.delivery import TopicNames
from streams.memory import Memory
from streams.pricing.engine import PriceBook
from streams.receipts import Receipted
from streams.rules.head import RuleHead


class Known:
    """Read from the topics' beginnings by `start`, and kept up until `stop`.

    Args:
        kafka: where Kafka is.
        topics: the topics' names.
        folder: where the records' bytes are kept; the system's temporary folder without one.

    Attributes:
        memory: the stones.
        own: what of the canonical topic the worker wrote itself: the memory has it without reading it back.
        rules: the newest rule set.
        receipted: the receipts.
    """

    def __init__(self, kafka: KafkaSettings, topics: TopicNames, folder: Path | None) -> None:
        self.memory = Memory(folder)
        self.own = Stretches()
        self.rules = RuleHead(kafka, topics.rulesets)
        self.receipted = Receipted(kafka, topics.receipts)
        # In log order: each version must meet the one before it.
        self._canonical = LogTail(kafka, topics.canonical, self.memory.apply, start={}, own=self.own)
        self._tails = (self._canonical, self.rules.tail, self.receipted.tail)

    def start(self) -> None:
        """Begin to read, each topic in a thread of its own."""
        for tail in self._tails:
            tail.start()

    def stop(self) -> None:
        """Read no more; blocks until the threads have ended."""
        for tail in self._tails:
            tail.stop()

    @property
    def positions(self) -> dict[int, int]:
        """How far the canonical topic has been read, by partition."""
        return self._canonical.positions

    @property
    def is_whole(self) -> bool:
        """Whether everything was read that there was at the start, and there are rules."""
        return all(tail.caught_up for tail in self._tails) and self.rules.book is not None

    @property
    def book(self) -> PriceBook:
        """The newest rule set, compiled.

        Raises:
            Fatal: there is none.
        """
        if self.rules.book is None:
            raise Fatal("there is no rule set to price under")
        return self.rules.book

    def raise_failure(self) -> None:
        """Raise `Fatal` where reading has stopped: what is known would grow old unseen."""
        for tail in self._tails:
            if tail.failure is not None:
                raise Fatal(f"reading stopped: {tail.failure}") from tail.failure

    @property
    def is_read(self) -> bool:
        """Whether nothing has stopped the reading."""
        return all(tail.failure is None for tail in self._tails)

    def check_memory(self) -> Check:
        """Whether the stones are there, and how far they are."""
        told = {"progress": round(self._canonical.progress, 3), "stones": len(self.memory)}
        return Check(self._canonical.caught_up, told)

    def check_rules(self) -> Check:
        """Whether there are rules, and their number."""
        book = self.rules.book
        return Check(book is not None, {"number": book.number} if book else "waiting for a rule set")
