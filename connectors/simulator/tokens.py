"""Sessions: tokens that look like the vendor's JWTs, expire by the vendor's clock, and can be revoked.

The signing key follows from the seed, so tokens outlive a restart of the simulator, as the vendor's do.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from typing import Any

from .clock import Clock
from .settings import SimulatorSettings


class AuthFailure(Exception):
    """A login or token the vendor does not accept; the message is what the vendor says."""


@dataclass(frozen=True)
class Session:
    """Who is asking."""

    user: str


class Tokens:
    """Issues and checks tokens."""

    def __init__(self, settings: SimulatorSettings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._key = hashlib.sha256(f"simulated vendor {settings.seed}".encode()).digest()
        self._revoked: set[str] = set()

    def log_in(self, username: str, password: str) -> dict[str, Any]:
        """A `Session` for the right name and password. Raises AuthFailure."""
        known = hmac.compare_digest(username.encode(), self._settings.username.encode())
        secret = self._settings.password.get_secret_value().encode()
        if not (hmac.compare_digest(password.encode(), secret) and known):
            raise AuthFailure("Invalid username or password: Unauthorized")
        return self._session(username)

    def renew(self, token: str) -> dict[str, Any]:
        """A fresh `Session` for a valid token. Raises AuthFailure."""
        return self._session(self.check(token).user)

    def check(self, token: str | None) -> Session:
        """Raises AuthFailure with the vendor's words: authentication required, jwt malformed, jwt expired, ..."""
        if not token:
            raise AuthFailure("Authentication required: unauthenticated")
        claims = self._claims(token)
        if claims["exp"] <= self._clock.now_s():
            raise AuthFailure("jwt expired")
        if token in self._revoked:
            raise AuthFailure("invalid token")
        return Session(claims["email"])

    def credential(self, token: str) -> str | None:
        """Whose token this is, valid or not; nothing when it is not one of ours."""
        try:
            return str(self._claims(token)["email"])
        except AuthFailure:
            return None

    def revoke(self, token: str) -> None:
        """Make a token invalid before its time."""
        self._revoked.add(token)

    def _session(self, username: str) -> dict[str, Any]:
        issued_s = int(self._clock.now_s())
        # Whole seconds, as in a JWT; never expired at birth when a test sets a life below one second.
        expires_s = self._clock.now_s() + self._settings.token_life_s
        user = {"id": hashlib.sha256(username.encode()).hexdigest()[:24], "email": username}
        claims = {
            **{"id": user["id"], "email": username, "role": "CUSTOMER", "country": "US", "geo_country": "US"},
            **{
                "cid": "c-1",
                "pt": "DEFAULT",
                "api": True,
                "api_h": True,
                "api_o": True,
                "api_r": True,
                "api_c": True,
            },
            **{"kid": secrets.token_hex(4), "iat": issued_s, "exp": expires_s},
        }
        return {
            "token": self._signed(claims),
            "expires": int(expires_s * 1000),
            "refresh_token": self._signed({**claims, "kid": secrets.token_hex(4)}),
            "user": {**user, "role": "CUSTOMER", "country": "US"},
            "hubspot_token": None,
        }

    def _signed(self, claims: dict[str, Any]) -> str:
        body = f"{_packed({'alg': 'HS256', 'typ': 'JWT'})}.{_packed(claims)}"
        return f"{body}.{self._signature(body)}"

    def _signature(self, body: str) -> str:
        return _text(hmac.new(self._key, body.encode(), hashlib.sha256).digest())

    def _claims(self, token: str) -> dict[str, Any]:
        head, _, signature = token.rpartition(".")
        if head.count(".") != 1:
            raise AuthFailure("jwt malformed")
        if not hmac.compare_digest(signature.encode(), self._signature(head).encode()):
            raise AuthFailure("invalid token")
        payload = head.split(".")[1]
        claims: dict[str, Any] = json.loads(urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        return claims


def _packed(value: dict[str, Any]) -> str:
    return _text(json.dumps(value, separators=(",", ":")).encode())


def _text(raw: bytes) -> str:
    return urlsafe_b64encode(raw).rstrip(b"=").decode()
