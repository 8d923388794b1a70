"""Times as the API writes them."""

from datetime import UTC, datetime


def iso(milliseconds: int) -> str:
    """ISO 8601 in UTC with milliseconds and `Z`, of milliseconds since 1970."""
    return (
        datetime.fromtimestamp(milliseconds / 1000, UTC)
        .isoformat(timespec="milliseconds")
        .replace("+00:00", "Z")
    )
