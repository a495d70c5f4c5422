"""One account's conversation with Nivoda: HTTP, login, and what each kind of trouble means.

Everything the vendor can answer is turned into an exception named by its fate here and nowhere else.
"""

from __future__ import annotations

import asyncio
import base64
import time
from contextlib import suppress
from typing import Any, Final

import httpx
import msgspec
import structlog

from connectors.alerts import Alerts, LoggedAlerts
from connectors.budget import Budget, Grant, Priority, StaleGrant
from connectors.budget.pauses import GrowingPause
from connectors.feeds.http import TROUBLE, clock_ms, refuse_trouble, send
from connectors.feeds.protocol import Ambiguous, NotLoggedIn
from runtime.settings import VendorSettings
from schemas.errors import Fatal, Invalid, Retriable, SlowDown
from schemas.events import Kind

log = structlog.stdlib.get_logger(__name__)

TOKEN_LIFE_S: Final = 6 * 3600
TOKEN_RESERVE_S: Final = 300
"""A token is replaced this long before its end, or halfway through its life if that is later."""

_LOGIN: Final = """query Login($username: String!, $password: String!) {
  authenticate { username_and_password(username: $username, password: $password) { token } } }"""

_AUTH_WORDS: Final = (
    "unauthenticated",
    "unauthorized",
    "authentication required",
    "jwt expired",
    "jwt malformed",
    "invalid token",
    "token expired",
)
_VALIDATION_CODES: Final = ("GRAPHQL_VALIDATION_FAILED", "GRAPHQL_PARSE_FAILED", "BAD_USER_INPUT")
_VALIDATION_WORDS: Final = (
    "is not defined by type",
    "cannot query field",
    "unknown argument",
    "syntax error",
    "got invalid value",
    "of required type",
)


_NULL: Final = msgspec.Raw(b"null")


class GraphQLError(msgspec.Struct, frozen=True):
    """One entry of a reply's `errors`."""

    message: str = ""
    extensions: dict[str, Any] | None = None

    @property
    def code(self) -> str:
        """`extensions.code`, or nothing."""
        return str((self.extensions or {}).get("code", ""))


class Envelope(msgspec.Struct, frozen=True):
    """What every reply looks like; `data` stays undecoded."""

    data: msgspec.Raw = _NULL
    errors: list[GraphQLError] | None = None


class Reply(msgspec.Struct, frozen=True):
    """A reply with data; `error` is the first of the errors that it names as well, if any."""

    body: bytes
    data: msgspec.Raw
    error: str | None
    vendor_clock_ms: int | None

    @property
    def partial(self) -> bool:
        """Whether something may be missing."""
        return self.error is not None


class _Token(msgspec.Struct, frozen=True):
    text: str
    fresh_until: float


class _NewSession(msgspec.Struct, frozen=True):
    token: str


class _Authenticate(msgspec.Struct, frozen=True):
    username_and_password: _NewSession


class _Login(msgspec.Struct, frozen=True):
    authenticate: _Authenticate


class NoData(Retriable):
    """A reply with errors and no data; the message is the vendor's first one."""


class Session:
    """The account: one token for everybody, one login at a time.

    Args:
        settings: where the vendor is, who we are, and what it was found to do.
        budget: every login takes its grant here; other requests bring theirs.
        http: injected for tests; closed by whoever made it.
        alerts: told of a refused login, and of the next one that is taken.
    """

    def __init__(
        self,
        settings: VendorSettings,
        budget: Budget,
        http: httpx.AsyncClient,
        alerts: Alerts | None = None,
    ) -> None:
        self.settings = settings
        self._budget = budget
        self._http = http
        self._alerts = alerts or LoggedAlerts()
        self._refusal: str | None = None
        self._token: _Token | None = None
        self._login_lock = asyncio.Lock()
        self._login_pause = GrowingPause(first_s=1, longest_s=60)

    @property
    def _fresh_token(self) -> _Token | None:
        token = self._token
        return token if token and time.monotonic() < token.fresh_until else None

    async def log_in(self) -> None:
        """Have a fresh token; asks the vendor only when there is none, before anything else of any class.

        Raises:
            Fatal: the vendor refuses user name or password.
            Retriable: no answer, or none to a login of a moment ago.
        """
        async with self._login_lock:
            if self._fresh_token:
                return
            if self._refusal:
                # Whoever waited for the lock would try the same password again, and the vendor locks accounts.
                raise Fatal(self._refusal)
            if self._login_pause.left_s > 0:
                raise Retriable("the vendor did not answer our last login")
            try:
                with await self._budget.grant(Priority.LIVE) as grant:
                    self._token = await self._new_token(grant)
            except StaleGrant:
                # Nothing was sent: the vendor is not to blame, and the next who waits may try at once.
                raise
            except Retriable:
                # Everybody who waits for the lock would try in turn.
                self._login_pause.next_s()
                raise
            self._alerts.resolved(Kind.VENDOR_REFUSES_LOGIN, self._budget.account)
            log.info("vendor.logged_in", fresh_for_s=round(self._token.fresh_until - time.monotonic()))

    async def ask(self, grant: Grant, operation: str, document: str, variables: dict[str, Any]) -> Reply:
        """Send one GraphQL request under a grant and the account's token.

        Raises:
            Retriable: no answer, or one that may be another next time.
            StaleGrant: there was no fresh token; now there is: ask again under a new grant.
            SlowDown: the vendor asked for a pause of this class.
            Banned: the vendor's firewall turned us away; nothing may be sent for a while.
            NotLoggedIn: the token was refused and thrown away.
            Invalid: the vendor refuses the request itself.
        """
        token = self._fresh_token
        if token is None:
            # Kept while the login waits, the grants of everybody else would leave it no place.
            grant.close()
            await self.log_in()
            raise StaleGrant("logged in first")
        try:
            return await self._post(grant, operation, document, variables, token.text)
        except NotLoggedIn:
            # Only the token that was refused: another request may have brought a new one meanwhile.
            if self._token is token:
                self._token = None
            raise

    async def change(self, grant: Grant, operation: str, document: str, variables: dict[str, Any]) -> Reply:
        """`ask` for something that changes the vendor's stock.

        Raises:
            Ambiguous: it was sent and not answered; besides what `ask` raises.
        """
        try:
            return await self.ask(grant, operation, document, variables)
        except (StaleGrant, SlowDown, NotLoggedIn, NoData):
            raise
        except Retriable as error:
            if grant.sent:
                raise Ambiguous(str(error)) from error
            raise

    async def _new_token(self, grant: Grant) -> _Token:
        account = {
            "username": self.settings.username,
            "password": self.settings.password.get_secret_value(),
        }
        try:
            reply = await self._post(grant, "login", _LOGIN, account, None)
            text = msgspec.json.decode(reply.data, type=_Login).authenticate.username_and_password.token
        except (NotLoggedIn, Invalid) as error:
            self._refusal = (
                f"the vendor refuses the login of {self.settings.username}: {error}; set ADAMAS_VENDOR_USERNAME and "
                "ADAMAS_VENDOR_PASSWORD to what it takes and start ingest, until then nothing is read"
            )
            self._alerts.raised(Kind.VENDOR_REFUSES_LOGIN, self._budget.account, self._refusal)
            raise Fatal(self._refusal) from error
        except msgspec.ValidationError as error:
            raise Retriable(f"the vendor's login reply has no token ({error})") from error
        return _Token(text, time.monotonic() + _fresh_s(text))

    async def _post(
        self, grant: Grant, operation: str, document: str, variables: dict[str, Any], token: str | None
    ) -> Reply:
        content = msgspec.json.encode({"query": document, "variables": variables})
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        url = self.settings.url
        response = await send(self._http, grant, operation, "POST", url, content=content, headers=headers)
        reply = self._read(response, grant)
        self._login_pause.over()
        return reply

    def _read(self, response: httpx.Response, grant: Grant) -> Reply:
        try:
            refuse_trouble(response, grant)
            envelope = _envelope(response, grant)
            grant.succeeded()
            return _reply(response, envelope)
        except (Retriable, Invalid) as error:
            TROUBLE.labels(f"{type(error).__name__} {response.status_code}").inc()
            raise


def _envelope(response: httpx.Response, grant: Grant) -> Envelope:
    try:
        return msgspec.json.decode(response.content, type=Envelope)
    except msgspec.DecodeError as error:
        grant.failed("the vendor's JSON is broken")
        raise Retriable(f"the vendor's JSON is broken ({error})") from error


def _reply(response: httpx.Response, envelope: Envelope) -> Reply:
    status, errors = response.status_code, envelope.errors or []
    texts = [error.message.lower() for error in errors]
    if status == 401 or any(word in text for text in texts for word in _AUTH_WORDS):
        raise NotLoggedIn(f"the vendor does not know us ({_first(errors) or status})")
    if any(error.code == "UNAUTHENTICATED" for error in errors):
        raise NotLoggedIn(f"the vendor does not know us ({_first(errors)})")
    if status >= 400 or any(_is_validation(error) for error in errors):
        raise Invalid("query", f"the vendor refuses it with {status}: {_first(errors)}", "refused_query")
    if bytes(envelope.data) == b"null":
        raise NoData(f"the vendor's reply has no data: {_first(errors)}")
    return Reply(response.content, envelope.data, _first(errors) if errors else None, clock_ms(response))


def _is_validation(error: GraphQLError) -> bool:
    text = error.message.lower()
    return error.code in _VALIDATION_CODES or any(word in text for word in _VALIDATION_WORDS)


def _first(errors: list[GraphQLError]) -> str:
    return errors[0].message[:200] if errors else ""


def _fresh_s(token: str) -> float:
    """Seconds for which a token may be used: its own `exp` or 6 h, whichever is first, less a reserve."""
    life_s: float = TOKEN_LIFE_S
    claims = _claims(token)
    exp, iat = claims.get("exp"), claims.get("iat")
    if isinstance(exp, int | float):
        # Measured from the vendor's own `iat`, so that our clock may be wrong.
        started = iat if isinstance(iat, int | float) else time.time()
        life_s = min(life_s, exp - started)
    return max(life_s - TOKEN_RESERVE_S, life_s / 2)


def _claims(token: str) -> dict[str, Any]:
    """The claims of a JWT; none where it is something else: its form is the vendor's business."""
    parts = token.split(".")
    with suppress(ValueError, msgspec.DecodeError, IndexError):
        claims = msgspec.json.decode(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
        return claims if isinstance(claims, dict) else {}
    return {}
