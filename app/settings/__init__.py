"""The settings of a backend, from the environment or `.env`. Nothing else reads the environment."""

import sys

from pydantic import ValidationError

from app import envfile
from app.settings.fields import Settings

__all__ = ["Settings", "load"]


def load() -> Settings:
    """The settings, or the end of the process (exit code 2) with one line that names what is wrong."""
    try:
        envfile.fill(".env")
        return Settings()  # type: ignore[call-arg]  # pydantic's plugin is not needed for one call
    except ValidationError as error:
        wrong = error.errors(include_input=False, include_url=False)[0]
        name = ".".join(str(part) for part in wrong["loc"]).upper()
        message = wrong["msg"].removeprefix("Value error, ")
        sys.exit(_fail(f"{name}: {message}" if name else message))
    except ValueError as error:  # a line of .env
        sys.exit(_fail(str(error)))


def _fail(line: str) -> int:
    sys.stderr.write(f"Wrong setting: {line}\n")
    return 2
