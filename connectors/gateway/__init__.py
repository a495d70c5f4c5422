"""The gateway: a feed's operations for the rest of the platform, spent from the one budget."""

from connectors.gateway.operations import Gateway
from connectors.gateway.server import gateway_app

__all__ = ["Gateway", "gateway_app"]
