"""What is set by itself for a model on this machine where it has no GPU, unless somebody set it."""

from pathlib import Path

from app.settings import Settings

_HERE = ("127.0.0.1", "localhost", "[::1]")
_GPUS = ("/dev/nvidia0", "/dev/kfd", "/dev/dri/renderD128")
_PIS = "/proc/device-tree/model"


def proposals(settings: Settings) -> dict[str, str]:
    """Settings for Ollama on this processor: a stop frees it sooner, and one reply at a time."""
    address = settings.ollama_host.partition("://")[2].rsplit(":", 1)[0]
    if settings.provider != "ollama" or address not in _HERE or _has_gpu():
        return {}
    wanted = {"OLLAMA_NUM_BATCH": "64", "MODEL_PARALLEL": "1"}
    return {name: value for name, value in wanted.items() if name.lower() not in settings.model_fields_set}


def _has_gpu() -> bool:
    """A Pi has a render device too, which Ollama does not compute with."""
    pi = Path(_PIS).exists() and b"Raspberry" in Path(_PIS).read_bytes()
    return not pi and any(Path(device).exists() for device in _GPUS)
