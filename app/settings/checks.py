"""What single settings must be beyond their type. Knows no other setting."""

import re
from typing import Any

from pydantic import SecretStr, ValidationInfo


def any_case(value: Any, info: ValidationInfo) -> Any:
    """A word of a list, however it is written."""
    if not isinstance(value, str):
        return value
    return value.upper() if info.field_name == "log_level" else value.lower()


def never_or_more(value: float) -> float:
    """-1, or a number of seconds."""
    if value < 0 and value != -1:
        raise ValueError("use -1 for never, 0 for at once, or a number of seconds")
    return value


def one_word(value: SecretStr) -> SecretStr:
    """What can stand in a header."""
    if not re.fullmatch(r"[\x21-\x7e]*", value.get_secret_value()):
        raise ValueError("must be one word of ASCII characters")
    return value
