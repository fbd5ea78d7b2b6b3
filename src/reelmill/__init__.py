"""Reelmill: the self-hosted video job platform."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from reelmill.client import Client

__version__ = "0.1.0"
__all__ = ["Client", "__version__"]


def __getattr__(name: str) -> Any:
    if name == "Client":  # not before it is wanted: workers and the command line don't need HTTP
        from reelmill.client import Client

        return Client
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
