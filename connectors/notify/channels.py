"""The channels: each turns a notice into what its receiver understands. What a file may say of them is said here."""

from __future__ import annotations

import hmac
import json
from email.message import EmailMessage
from hashlib import sha256
from typing import Annotated, Any, Final, Literal

import aiosmtplib
import httpx
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from connectors.notify.notice import Notice, Phase
from runtime.settings import HttpUrl
from schemas.errors import Retriable

TIMEOUT_S: Final = 10.0


class NotSent(Retriable):
    """The channel did not take the notice; the message says why."""


class _Channel(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    async def send(self, notice: Notice) -> str:
        """Hand a notice over; what the receiver answered, in short.

        Raises:
            NotSent: it did not take it.
        """
        raise NotImplementedError


async def _post(url: str, body: Any, headers: dict[str, str] | None = None) -> str:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    try:
        async with httpx.AsyncClient(timeout=TIMEOUT_S) as client:
            reply = await client.post(
                url, content=content, headers={"Content-Type": "application/json", **(headers or {})}
            )
    except httpx.HTTPError as error:
        # The address may hold a secret (Slack's does), and the error's words hold the address.
        raise NotSent(f"no answer ({type(error).__name__})") from error
    if not reply.is_success:
        raise NotSent(f"answered {reply.status_code}")
    return f"answered {reply.status_code}"


class Smtp(_Channel):
    """E-mail by an SMTP server; `tls` as it expects it."""

    type: Literal["smtp"]
    host: str
    port: int = 587
    tls: Literal["starttls", "tls", "none"] = "starttls"
    username: str | None = None
    password: SecretStr | None = None
    sender: str
    to: tuple[str, ...] = Field(min_length=1)

    async def send(self, notice: Notice) -> str:
        """Send one message to all receivers."""
        message = EmailMessage()
        message["From"], message["To"], message["Subject"] = self.sender, ", ".join(self.to), notice.title
        message["Message-ID"] = f"<{notice.key}-{notice.phase}@adamas>"
        if notice.phase is Phase.RESOLVED:
            message["In-Reply-To"] = f"<{notice.key}-{Phase.RAISED}@adamas>"
        message.set_content(notice.words)
        try:
            refused, answer = await aiosmtplib.send(
                message,
                hostname=self.host,
                port=self.port,
                username=self.username,
                password=self.password.get_secret_value() if self.password else None,
                use_tls=self.tls == "tls",
                start_tls=self.tls == "starttls",
                timeout=TIMEOUT_S,
            )
        except (aiosmtplib.SMTPException, OSError) as error:
            raise NotSent(f"{type(error).__name__}: {error}") from error
        if refused:
            raise NotSent(f"refused for {', '.join(refused)}")
        return str(answer)[:80]


class Resend(_Channel):
    """E-mail by Resend's HTTP API."""

    type: Literal["resend"]
    api_key: SecretStr
    sender: str
    to: tuple[str, ...] = Field(min_length=1)
    url: HttpUrl = "https://api.resend.com/emails"

    async def send(self, notice: Notice) -> str:
        """Send one message; Resend drops what it has had under the same key."""
        body = {"from": self.sender, "to": list(self.to), "subject": notice.title, "text": notice.words}
        headers = {
            "Authorization": f"Bearer {self.api_key.get_secret_value()}",
            "Idempotency-Key": f"{notice.key}-{notice.phase}",
        }
        return await _post(self.url, body, headers)


class Slack(_Channel):
    """A Slack channel's incoming webhook."""

    type: Literal["slack"]
    url: SecretStr

    async def send(self, notice: Notice) -> str:
        """Write into the channel."""
        return await _post(self.url.get_secret_value(), {"text": f"*{notice.title}*\n{notice.words}"})


class PagerDuty(_Channel):
    """PagerDuty's Events API v2: an incident is triggered and resolved under the event's key."""

    type: Literal["pagerduty"]
    routing_key: SecretStr
    url: HttpUrl = "https://events.pagerduty.com/v2/enqueue"

    async def send(self, notice: Notice) -> str:
        """Trigger or resolve."""
        body = {
            "routing_key": self.routing_key.get_secret_value(),
            "event_action": "trigger" if notice.phase is Phase.RAISED else "resolve",
            "dedup_key": notice.key,
            "payload": {
                "summary": f"{notice.kind}: {notice.subject}: {notice.text}"[:1024],
                "source": "adamas",
                "severity": notice.severity.value,
                "component": notice.subject,
                "custom_details": notice.as_json(),
            },
        }
        return await _post(self.url, body)


class Webhook(_Channel):
    """Any receiver of JSON; with a secret the body's HMAC-SHA-256 stands in `X-Adamas-Signature`."""

    type: Literal["webhook"]
    url: HttpUrl
    secret: SecretStr | None = None

    async def send(self, notice: Notice) -> str:
        """Post the notice."""
        body = json.dumps(notice.as_json()).encode()
        headers = {"X-Adamas-Event": f"{notice.key}-{notice.phase}"}
        if self.secret is not None:
            digest = hmac.new(self.secret.get_secret_value().encode(), body, sha256).hexdigest()
            headers["X-Adamas-Signature"] = f"sha256={digest}"
        return await _post(self.url, body, headers)


class Sms(_Channel):
    """An SMS provider's webhook that takes `{"to": ..., "text": ...}`; one call a receiver."""

    type: Literal["sms"]
    url: HttpUrl
    token: SecretStr | None = None
    to: tuple[str, ...] = Field(min_length=1)

    async def send(self, notice: Notice) -> str:
        """Send one line to each."""
        headers = {"Authorization": f"Bearer {self.token.get_secret_value()}"} if self.token else {}
        text = f"{notice.title} {notice.text}"[:320]
        answers = [await _post(self.url, {"to": number, "text": text}, headers) for number in self.to]
        return answers[-1]


Channel = Annotated[Smtp | Resend | Slack | PagerDuty | Webhook | Sms, Field(discriminator="type")]
