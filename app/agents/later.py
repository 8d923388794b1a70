"""Packages that Strands imports and nothing here uses before somebody needs them: the clients of AWS
and of Ollama.

Put off, they cost no backend a tenth of its memory and of its start. Knows nothing of Strands.
"""

import importlib
import importlib.util
import sys
from types import ModuleType
from typing import Any

PACKAGES = ("boto3", "ollama")


class _Later(ModuleType):
    """Stands for a package until one of its names is used."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name != "__version__":  # what others ask of every module
            raise AttributeError(name)
        return getattr(_module(self.__name__), name)


class _Session:
    """Stands for `boto3.Session`, which Strands names where it declares its parameters."""

    def __new__(cls, *given: Any, **named: Any) -> Any:
        return _module("boto3").Session(*given, **named)


def put_off() -> None:
    """From now on these packages are loaded when they are used; called before Strands is imported."""
    for name in PACKAGES:
        spec = None if name in sys.modules else importlib.util.find_spec(name)
        if spec:
            later = _Later(name)
            later.__spec__, later.__path__ = spec, spec.submodule_search_locations or []
            sys.modules[name] = later
    if isinstance(boto3 := sys.modules.get("boto3"), _Later):
        boto3.__dict__["Session"] = _Session


def _module(name: str) -> ModuleType:
    if isinstance(sys.modules.get(name), _Later):
        del sys.modules[name]
    return importlib.import_module(name)
