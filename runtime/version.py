"""The version that runs."""

from importlib.metadata import PackageNotFoundError, version

UNINSTALLED = "0.0.0+checkout"


def running_version() -> str:
    """The installed distribution's version; a checkout that was never installed names itself so."""
    try:
        return version("adamas")
    except PackageNotFoundError:
        return UNINSTALLED
