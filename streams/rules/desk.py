"""What an operator does with rule sets: draft, preview, publish, widen a share, take it back, roll back.

One function an action, for commands and routes alike. Each takes an actor and leaves who, when, why and the diff in
`rulesets`, for ever. Before anything is published it is tried on the whole stock, and what breaks a guardrail needs a
reason.
"""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass, field, replace
from typing import Any, Final

import msgspec
import structlog

from runtime.postgres import Database
from runtime.settings import KafkaSettings, Settings
from schemas.errors import Invalid, Retriable
from schemas.ruleset import WHOLE_BPS, PublishedRuleSet, Rate, RuleSet, Side, TrialLimits
from schemas.topics import RULESETS
from streams.pricing.guards import Guards
from streams.pricing.preview import Change, Report, changes, preview
from streams.pricing.shelf import attributes_of
from streams.pricing.shelves import Shelves
from streams.rules import rates
from streams.rules import store as rules_store
from streams.rules.report_text import guardrail
from streams.rules.store import Publication, StaleBase, Story

log = structlog.stdlib.get_logger(__name__)

FRESH_S: Final = 900.0
"""How long the preview of a draft stands for the stock; an older one is made anew."""

_DRAFT: Final = """
INSERT INTO rule_drafts (actor, note, base, content) VALUES ($1, $2, $3, $4) RETURNING id"""
_PREVIEWED: Final = """
UPDATE rule_drafts SET state = 'previewed', previewed_at = now(), report = $2, base = $3
WHERE id = $1 AND state IN ('draft', 'previewed')"""


class GuardsBroken(Invalid):
    """A draft breaks guardrails and comes without a reason to override them."""

    def __init__(self, report: Report) -> None:
        told = "; ".join(guardrail(one, report.currency) for one in report.breaks)
        super().__init__(
            "guardrails", f"{told}. Override them with a reason, or change the draft", code="guards"
        )
        self.report = report
        self.more["breaks"] = msgspec.to_builtins(report.breaks)


@dataclass(frozen=True, slots=True)
class Intent:
    """Who publishes, and why.

    Attributes:
        base: the number it was made from; null takes the present one at the time of the preview.
        override: the reason for which broken guardrails, or a preview that is not to be had, do not matter.
        limits: what ends a gradual publish by itself.
    """

    actor: str
    reason: str
    base: int | None = None
    override: str | None = None
    limits: TrialLimits = field(default_factory=TrialLimits)

    def check(self) -> None:
        """Raise `Invalid` for a reason that says nothing."""
        for name, text in (("reason", self.reason), ("override", self.override)):
            if text is not None and not text.strip():
                raise Invalid(name, "says nothing; it is kept for ever", code="no_reason")


class RuleDesk:
    """The actions.

    Args:
        database: where numbers are decided and history is kept.
        kafka: where workers read them.
        guards: what may be done without a reason.
        shelves: the stock to try drafts on.
        topic: the topic of rule sets.
    """

    def __init__(
        self,
        database: Database,
        kafka: KafkaSettings,
        guards: Guards,
        shelves: Shelves,
        topic: str = RULESETS.name,
    ) -> None:
        self.database = database
        self.kafka = kafka
        self.guards = guards
        self.shelves = shelves
        self.topic = topic

    @classmethod
    def of(cls, settings: Settings, database: Database) -> RuleDesk:
        """The actions, with what the settings say may be done."""
        limits = settings.pricing
        guards = Guards(limits.min_margin_bps, limits.max_move_bps, limits.max_changed_bps)
        return cls(database, settings.kafka, guards, Shelves(settings.kafka))

    async def head(self) -> PublishedRuleSet:
        """The present number. Raises `Invalid` when there is none."""
        async with self.database.link() as link:
            found = await rules_store.head(link)
        if found is None:
            raise Invalid("number", "no rule set was published yet", code="unknown")
        return found

    async def draft(self, content: RuleSet, *, actor: str, note: str, base: int | None = None) -> int:
        """Keep a draft; its id."""
        present = await self.head()
        async with self.database.link() as link:
            number = base or present.number
            await rules_store.get(link, number)
            draft_id: int = await link.fetchval(
                _DRAFT, actor, note, number, content.model_dump_json(exclude_none=True)
            )
        log.info("rules.drafted", draft=draft_id, base=number, actor=actor)
        return draft_id

    async def preview(self, content: RuleSet, share_bps: int = WHOLE_BPS) -> Report:
        """What publishing this now would do. Raises `Retriable` when the stock cannot be read."""
        present = await self.head()
        return await self._try(await self._proposal(present, content, share_bps), present)

    async def changes(self, content: RuleSet) -> list[Change]:
        """Every stone whose price publishing this now would change."""
        present = await self.head()
        proposal = await self._proposal(present, content, WHOLE_BPS)
        shelf = await self.shelves.shelf(attributes_of(proposal, present))
        return await asyncio.to_thread(lambda: list(changes(proposal, shelf, present)))

    async def preview_draft(self, draft_id: int) -> Report:
        """Preview a draft; it is then `previewed`, against the present number."""
        content = await self._content_of(draft_id)
        present = await self.head()
        report = await self._try(await self._proposal(present, content, WHOLE_BPS), present)
        async with self.database.link() as link:
            await link.execute(_PREVIEWED, draft_id, _json(report), present.number)
        return report

    async def discard(self, draft_id: int, *, actor: str) -> None:
        """Put a draft away."""
        await self._content_of(draft_id)
        async with self.database.link() as link:
            await link.execute(
                "UPDATE rule_drafts SET state = 'discarded', ended_at = now(), ended_by = $2 WHERE id = $1",
                draft_id,
                actor,
            )

    async def publish(self, content: RuleSet, intent: Intent, share_bps: int = WHOLE_BPS) -> Publication:
        """Publish a rule set, to all stones or first to a share.

        Raises:
            StaleBase: somebody has published since.
            GuardsBroken: it breaks guardrails, and the intent has no reason to override them.
            Retriable: Postgres is away, or no preview is to be had and the intent has no override. Nothing happened.
        """
        return await self._publish(content, intent, share_bps)

    async def publish_draft(self, draft_id: int, intent: Intent, share_bps: int = WHOLE_BPS) -> Publication:
        """Publish a draft; its own preview counts if it is fresh. Raises as `publish` does."""
        content = await self._content_of(draft_id)
        async with self.database.link() as link:
            row = await link.fetchrow(
                "SELECT base, report, extract(epoch FROM now() - previewed_at) AS age_s FROM rule_drafts WHERE id = $1",
                draft_id,
            )
        report = None
        if row["report"] is not None and share_bps == WHOLE_BPS and row["age_s"] < FRESH_S:
            found = msgspec.json.decode(row["report"], type=Report)
            report = found if found.number == (await self.head()).number + 1 else None
        base = row["base"] if intent.base is None else intent.base
        intent = replace(intent, base=base)
        return await self._publish(content, intent, share_bps, draft_id, report)

    async def widen(self, share_bps: int, intent: Intent) -> Publication:
        """Give the number that is on trial to a larger (or smaller) share of the stones. Raises as `publish` does."""
        present = await self._on_trial()
        rest = present.rest if share_bps < WHOLE_BPS else None
        proposal = _next(present, present.content, present.rate, intent, "share", share_bps, rest)
        # How many change was the question when the trial began; how they fare is watched since.
        return await self._guarded(
            proposal, present, intent, guards=replace(self.guards, max_changed_bps=WHOLE_BPS)
        )

    async def take_back(self, intent: Intent) -> Publication:
        """End a gradual publish: all stones go back to what the others kept."""
        present = await self._on_trial()
        assert present.rest is not None
        proposal = _next(present, present.rest.content, present.rest.rate, intent, "return", WHOLE_BPS, None)
        return await self._append(proposal, Story(base=present.number))

    async def rollback(self, number: int, intent: Intent) -> Publication:
        """Publish a former number's content anew. Not held up by guardrails: it was let through once.

        Raises:
            Invalid: there is no such number.
            StaleBase: somebody has published since `intent.base`.
        """
        intent.check()
        present = await self.head()
        async with self.database.link() as link:
            former = await rules_store.get(link, number)
            rate = await rates.rate_for(link, former.content.currency)
        base = present.number if intent.base is None else intent.base
        intent = replace(intent, reason=f"back to {number}: {intent.reason}")
        proposal = _next(present, former.content, rate, intent, "rollback", WHOLE_BPS, None)
        return await self._append(proposal, Story(base=base))

    async def renew(self, cause: str, reason: str, actor: str) -> Publication:
        """Publish the present content anew because a date has passed (`dates`) or a rate has changed (`rate`)."""
        present = await self.head()
        async with self.database.link() as link:
            rate = await rates.rate_for(link, present.content.currency)
            rest = present.rest
            if rest is not None:
                rest = rest.model_copy(update={"rate": await rates.rate_for(link, rest.content.currency)})
        intent = Intent(actor, reason, limits=present.trial or TrialLimits())
        proposal = _next(present, present.content, rate, intent, cause, present.share_bps, rest)
        return await self._append(proposal, Story(base=present.number))

    async def _publish(
        self,
        content: RuleSet,
        intent: Intent,
        share_bps: int,
        draft_id: int | None = None,
        report: Report | None = None,
    ) -> Publication:
        present = await self.head()
        if intent.base is not None and intent.base != present.number:
            raise StaleBase(intent.base, present.number)
        if present.share_bps < WHOLE_BPS:
            raise Invalid(
                "share", "a gradual publish is under way: widen it or take it back first", code="busy"
            )
        proposal = await self._proposal(present, content, share_bps, intent)
        return await self._guarded(proposal, present, intent, draft_id, report)

    async def _guarded(
        self,
        proposal: PublishedRuleSet,
        present: PublishedRuleSet,
        intent: Intent,
        draft_id: int | None = None,
        report: Report | None = None,
        guards: Guards | None = None,
    ) -> Publication:
        intent.check()
        if report is None:
            try:
                report = await self._try(proposal, present, guards)
            except Retriable:
                if intent.override is None:
                    raise
        if report is not None and report.breaks and intent.override is None:
            raise GuardsBroken(report)
        base = present.number if intent.base is None else intent.base
        told = None if report is None else msgspec.to_builtins(report)
        return await self._append(proposal, Story(base, draft_id, told, intent.override))

    async def _append(self, proposal: PublishedRuleSet, story: Story) -> Publication:
        def make(number: int, now_ms: int, _head: PublishedRuleSet | None) -> PublishedRuleSet:
            return proposal.model_copy(update={"number": number, "published_at": now_ms})

        async with self.database.link() as link:
            return await rules_store.append(link, self.kafka, make, story, topic=self.topic)

    async def _proposal(
        self, present: PublishedRuleSet, content: RuleSet, share_bps: int, intent: Intent | None = None
    ) -> PublishedRuleSet:
        if not 0 < share_bps <= WHOLE_BPS:
            raise Invalid("share", f"must be from 1 to {WHOLE_BPS} basis points", code="bad_share")
        async with self.database.link() as link:
            rate = await rates.rate_for(link, content.currency)
        rest = None
        if share_bps < WHOLE_BPS:
            rest = Side(number=present.number, content=present.content, rate=present.rate)
        return _next(present, content, rate, intent or Intent("", ""), "publish", share_bps, rest)

    async def _try(
        self, proposal: PublishedRuleSet, present: PublishedRuleSet, guards: Guards | None = None
    ) -> Report:
        shelf = await self.shelves.shelf(attributes_of(proposal, present))
        return await asyncio.to_thread(preview, proposal, shelf, guards or self.guards, present)

    async def _on_trial(self) -> PublishedRuleSet:
        present = await self.head()
        if present.rest is None:
            raise Invalid("share", "no gradual publish is under way", code="ended")
        return present

    async def _content_of(self, draft_id: int) -> RuleSet:
        async with self.database.link() as link:
            row = await link.fetchrow("SELECT content, state FROM rule_drafts WHERE id = $1", draft_id)
        if row is None:
            raise Invalid("draft", f"there is no draft {draft_id}", code="unknown")
        if row["state"] in ("published", "discarded"):
            raise Invalid("draft", f"draft {draft_id} is {row['state']} already", code="ended")
        return RuleSet.model_validate_json(row["content"])


def _next(
    present: PublishedRuleSet,
    content: RuleSet,
    rate: Rate | None,
    intent: Intent,
    cause: str,
    share_bps: int,
    rest: Side | None,
) -> PublishedRuleSet:
    now_ms = int(time.time() * 1000)
    return PublishedRuleSet(
        number=present.number + 1,
        published_at=now_ms,
        actor=intent.actor,
        reason=intent.reason,
        content=content,
        cause=cause,
        valid_at=now_ms,
        rate=rate,
        share_bps=share_bps,
        rest=rest,
        trial=intent.limits if rest else None,
    )


def _json(value: Any) -> str:
    return json.dumps(msgspec.to_builtins(value))
