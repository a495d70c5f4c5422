"""Notices over real sockets: every channel, retries, fall-backs, order, and what is kept of each attempt."""

import hmac
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.handlers import Message as MailHandler
from pydantic import TypeAdapter

from adamas.ports import free_ports
from connectors.notify.channels import Channel, NotSent
from connectors.notify.notice import Notice, Phase
from connectors.notify.plan import Plan
from connectors.postgres import events
from monitor.alarms import Alarms, take_alertmanager
from monitor.evaluation import Evaluation
from monitor.notices import ROUNDS, Notifier
from monitor.samples import Samples
from monitor.trial import send_test, trial
from operating import alert_test
from runtime import jobs
from runtime.job_runner import carry_out
from runtime.jobs import Job
from runtime.postgres import Database
from schemas.events import Kind, Severity
from tests.integration.monitor.receivers import http_receiver

NOTICE = Notice(
    7,
    Phase.RAISED,
    Severity.CRITICAL,
    Kind.GROUP_STALLED,
    "adamas-sink",
    "stands",
    datetime(2026, 1, 2, tzinfo=UTC),
)


@pytest.fixture
async def store(database: str) -> AsyncIterator[Database]:
    async with Database(database, "test") as opened:
        yield opened


def plan(channels: dict[str, Any], **routes: Any) -> Plan:
    return Plan.model_validate({"channels": channels, **routes})


def channel(**words: Any) -> Any:
    made: Any = TypeAdapter(Channel).validate_python(words)
    return made


async def rows(store: Database, query: str) -> list[tuple[Any, ...]]:
    async with store.link() as link:
        return [tuple(row) for row in await link.fetch(query)]


async def test_every_http_channel_says_it_in_its_receiver_s_words() -> None:
    with http_receiver() as receiver:
        url = receiver.url
        for one in (
            channel(type="slack", url=url),
            channel(type="pagerduty", routing_key="r", url=url),
            channel(type="resend", api_key="k", sender="a@x", to=["b@x"], url=url),
            channel(type="sms", url=url, token="t", to=["+1", "+2"]),
            channel(type="webhook", url=url, secret="s"),
        ):
            await one.send(NOTICE)
        slack, pager, resend, first_sms, second_sms, hook = receiver.bodies
        assert "GroupStalled: adamas-sink" in slack["text"]
        assert (pager["event_action"], pager["dedup_key"], pager["payload"]["severity"]) == (
            "trigger",
            "adamas-7",
            "critical",
        )
        assert (resend["to"], resend["subject"]) == (["b@x"], "[critical] GroupStalled: adamas-sink")
        assert receiver.headers[2]["Authorization"] == "Bearer k"
        assert [first_sms["to"], second_sms["to"]] == ["+1", "+2"]
        assert (hook["kind"], hook["phase"], hook["runbook"]) == (
            "GroupStalled",
            "raised",
            "docs/runbooks/GroupStalled.md",
        )
        digest = hmac.new(b"s", receiver.raw[-1], sha256).hexdigest()
        assert receiver.headers[-1]["X-Adamas-Signature"] == f"sha256={digest}"
        receiver.status = 500
        with pytest.raises(NotSent, match="500"):
            await channel(type="slack", url=url).send(NOTICE)
    with pytest.raises(NotSent) as refusal:
        await channel(type="slack", url=url).send(NOTICE)
    assert url not in str(refusal.value), "Slack's address is a secret"


async def test_e_mail_by_smtp() -> None:
    mails: list[Any] = []

    class Inbox(MailHandler):
        def handle_message(self, message: Any) -> None:
            mails.append(message)

    (port,) = free_ports(1)
    server = Controller(Inbox(), hostname="127.0.0.1", port=port)
    server.start()
    try:
        mail = channel(
            type="smtp", host="127.0.0.1", port=port, tls="none", sender="a@x.org", to=["b@x.org", "c@x.org"]
        )
        await mail.send(NOTICE)
    finally:
        server.stop()
    with pytest.raises(NotSent):
        await mail.send(NOTICE)
    (message,) = mails
    assert message["Subject"] == "[critical] GroupStalled: adamas-sink"
    assert "What to do: docs/runbooks/GroupStalled.md" in message.get_payload()
    assert message["X-RcptTo"] == "b@x.org, c@x.org"


async def test_two_receivers_one_with_a_broken_channel_hear_both_phases_once_in_order(
    store: Database,
) -> None:
    with http_receiver(500) as broken, http_receiver() as spare, http_receiver() as chat:
        hooks = {
            name: {"type": "webhook", "url": r.url}
            for name, r in (("broken", broken), ("spare", spare), ("chat", chat))
        }
        notifier = Notifier(store, plan(hooks, severities={"critical": [["broken", "spare"], ["chat"]]}), 0.0)
        async with store.link() as link:
            event = await events.record(link, Kind.GROUP_STALLED, "adamas-sink", "stands", actor="test")
            await events.record(link, Kind.GROUP_STALLED, "adamas-sink", "still stands", actor="test")
            await events.resolve(link, Kind.GROUP_STALLED, "adamas-sink")
        while await notifier.send_waiting():
            pass
        assert (
            [body["phase"] for body in spare.bodies]
            == [body["phase"] for body in chat.bodies]
            == ["raised", "resolved"]
        )
        assert len(broken.bodies) == 4, "two attempts a phase"
    assert await rows(store, "SELECT event_id, phase, state FROM notices ORDER BY phase") == [
        (event, "raised", "delivered"),
        (event, "resolved", "delivered"),
    ]
    kept = await rows(
        store, "SELECT channel, delivered, detail FROM deliveries WHERE phase = 'raised' ORDER BY id"
    )
    assert sorted(kept) == [
        ("broken", False, "answered 500"),
        ("broken", False, "answered 500"),
        ("chat", True, "answered 200"),
        ("spare", True, "answered 200"),
    ]


async def test_who_was_reached_is_not_told_again_and_who_never_is_is_told_of(store: Database) -> None:
    with http_receiver(500) as broken, http_receiver() as chat:
        hooks = {name: {"type": "webhook", "url": r.url} for name, r in (("broken", broken), ("chat", chat))}
        notifier = Notifier(
            store, plan(hooks, severities={"warning": [["broken"], ["chat"]], "critical": [["broken"]]}), 0.0
        )
        async with store.link() as link:
            partly = await events.record(link, Kind.DEAD_LETTERS, "all", "5", actor="test")
            nobody = await events.record(link, Kind.MEMBER_DOWN, "api", "silent", actor="test")
            unrouted = await events.record(link, Kind.RUN_COMPLETED, "run", "done", actor="test")
        rounds = 0
        while await notifier.send_waiting():
            rounds += 1
        assert rounds == ROUNDS
        assert len(chat.bodies) == 1
    found = dict(await rows(store, "SELECT event_id, state FROM notices"))
    assert found == {partly: "partly", nobody: "undelivered", unrouted: "unrouted"}


async def test_a_kind_may_go_elsewhere_than_its_severity(store: Database) -> None:
    with http_receiver() as mail:
        routes = plan({"mail": {"type": "webhook", "url": mail.url}}, kinds={"RunCompleted": [["mail"]]})
        async with store.link() as link:
            await events.record(link, Kind.RUN_COMPLETED, "run-1", "all read", actor="ingest")
        await Notifier(store, routes).send_waiting()
        assert [body["subject"] for body in mail.bodies] == ["run-1"]


async def test_the_test_goes_over_the_named_channels_and_is_kept(store: Database) -> None:
    with http_receiver(500) as broken, http_receiver() as chat:
        hooks = {name: {"type": "webhook", "url": r.url} for name, r in (("broken", broken), ("chat", chat))}
        routes = plan(hooks, severities={"info": [["chat"]]})
        assert await send_test(store, routes, ["broken", "chat"], "me") == {"broken": False, "chat": True}
        assert await Notifier(store, routes).send_waiting() == 0
        assert (len(broken.bodies), len(chat.bodies)) == (1, 1)
    assert await rows(store, "SELECT kind, actor FROM events") == [("Test", "me")]


async def test_alertmanager_and_we_ourselves_make_one_event(store: Database) -> None:
    alert = {
        "status": "firing",
        "labels": {"alertname": "MemberDown", "kind": "MemberDown"},
        "annotations": {"subject": "api", "description": "has not answered"},
    }
    stranger = {"status": "firing", "labels": {"alertname": "DiskFull"}}
    samples = Samples()
    alarms = Alarms(store, samples, blind=lambda: False, evaluation=Evaluation())
    at = time.time()
    samples.take(at, "monitor", 'adamas_monitor_member_up{process="api"} 0\n')
    await alarms.step(at)
    await alarms.step(at + 100)
    assert await take_alertmanager(store, [alert, stranger]) == {"taken": 1, "unknown": ["DiskFull"]}
    async with store.link() as link:
        (event,) = await events.list_events(link)
    assert (event.kind, event.subject, event.count) == (Kind.MEMBER_DOWN, "api", 2)
    samples.take(at + 101, "monitor", 'adamas_monitor_member_up{process="api"} 1\n')
    await alarms.step(at + 101)
    await alarms.step(at + 110)
    async with store.link() as link:
        assert not await events.list_events(link, only_open=True)


async def test_an_alert_that_counts_events_makes_none_of_its_own(store: Database) -> None:
    async with store.link() as link:
        await events.record(link, Kind.VENDOR_REFUSES_LOGIN, "nivoda", "refused", actor="ingest")
    alert = {
        "status": "firing",
        "labels": {"alertname": "VendorRefusesLogin", "kind": "VendorRefusesLogin"},
        "annotations": {"subject": "all", "description": "The vendor refuses our login."},
    }
    assert await take_alertmanager(store, [alert]) == {"taken": 1, "unknown": []}
    async with store.link() as link:
        await events.resolve(link, Kind.VENDOR_REFUSES_LOGIN, "nivoda")
        assert not await events.list_events(link, only_open=True), "the alert would keep itself firing"


async def test_while_it_cannot_see_nothing_is_over(store: Database) -> None:
    samples, blind = Samples(), [True]
    alarms = Alarms(store, samples, blind=lambda: blind[0])
    labels = '{cluster_name="c",group="g"}'
    samples.take(0, "monitor", f"adamas_monitor_group_status{labels} 2\n")
    await alarms.step(0)
    samples.take(1, "monitor", "")
    await alarms.step(60)
    async with store.link() as link:
        assert len(await events.list_events(link, only_open=True)) == 1
    blind[0] = False
    await alarms.step(66)
    async with store.link() as link:
        assert not await events.list_events(link, only_open=True)


async def test_a_monitor_that_starts_again_leaves_what_others_recorded_open(store: Database) -> None:
    async with store.link() as link:
        await events.record(link, Kind.DEAD_LETTERS, "0123456789ab", "3 letters", actor="monitor")
        await events.record(link, Kind.MEMBER_DOWN, "api", "silent", actor="monitor")
    alarms = Alarms(store, Samples(), blind=lambda: False)
    await alarms.step(0)
    await alarms.step(60)
    async with store.link() as link:
        assert [event.kind for event in await events.list_events(link, only_open=True)] == [Kind.DEAD_LETTERS]


async def test_a_test_asked_for_as_a_job_names_the_channels_that_took_it(store: Database) -> None:
    with http_receiver() as chat:
        routes = plan({"chat": {"type": "webhook", "url": chat.url}})
        assert (await _trial(store, routes, [])).result == {"taken": {"chat": True}}
        assert len(chat.bodies) == 1
        assert "no channel is called pager; there are chat" in str(
            (await _trial(store, routes, ["pager"])).failure
        )
    assert "ADAMAS_NOTIFY_FILE" in str((await _trial(store, plan({}), [])).failure)


async def _trial(store: Database, routes: Plan, channels: list[str]) -> Job:
    async with store.transaction() as link:
        asked = await alert_test.request(link, channels, "me")
        job = await jobs.claim(link, "test", [alert_test.KIND], job_id=asked.id)
    assert job is not None
    await carry_out(store, job, trial(store, routes))
    async with store.link() as link:
        return await jobs.get(link, asked.id)
