"""What a start sets by itself for a model on this machine."""

import pytest

from app.settings import Settings
from deploy.native import small


@pytest.mark.parametrize(
    ("given", "proposed"),
    [
        ({"provider": "ollama"}, {"OLLAMA_NUM_BATCH": "64", "MODEL_PARALLEL": "1"}),
        ({"provider": "ollama", "model_parallel": 3}, {"OLLAMA_NUM_BATCH": "64"}),
        ({"provider": "ollama", "ollama_num_batch": 128, "model_parallel": 0}, {}),
        ({"provider": "ollama", "ollama_host": "http://192.168.1.9:11434"}, {}),
        ({"provider": "demo"}, {}),
    ],
)
def test_a_model_on_a_processor_gets_what_fits_it(
    given: dict[str, object], proposed: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(small, "_GPUS", ())
    assert small.proposals(Settings.model_validate(given)) == proposed


def test_a_machine_with_a_gpu_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(small, "_GPUS", ("/dev/null",))
    assert small.proposals(Settings.model_validate({"provider": "ollama"})) == {}
