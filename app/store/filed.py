"""What is known of a file beside its bytes, as messages name it."""

from dataclasses import asdict, dataclass
from typing import Any

MOST_BYTES = 2**30  # what is larger was never taken in


@dataclass(frozen=True, slots=True)
class Filed:
    """What is known of a file beside its bytes; of a picture also its size in pixels."""

    file_id: str
    media_type: str
    bytes: int
    name: str
    width: int | None = None
    height: int | None = None

    def entry(self) -> dict[str, Any]:
        """As messages and answers name it."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    @classmethod
    def read(cls, told: Any) -> "Filed":
        """Raises `ValueError`, `TypeError` for what is none."""
        file = cls(**told)
        texts = (file.file_id, file.media_type, file.name)
        if not all(isinstance(text, str) and text.isprintable() for text in texts):
            raise ValueError
        if type(file.bytes) is not int or not 0 < file.bytes <= MOST_BYTES:
            raise ValueError
        return file


def readable_files(told: Any) -> list[dict[str, Any]] | None:
    """Those of these that can be read."""
    found = []
    for one in told if isinstance(told, list) else ():
        try:
            found.append(Filed.read(one).entry())
        except (ValueError, TypeError):
            continue
    return found or None


def is_picture(told: dict[str, Any]) -> bool:
    """Whether this is a picture."""
    return str(told["media_type"]).startswith("image/")
