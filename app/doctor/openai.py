"""What the doctor finds at an OpenAI-compatible server: asks for its list of models, as many clients do."""

import json
import urllib.error
import urllib.request

from app.doctor.machine import ASK_SECONDS, Finding
from app.settings import Settings

NAME = "openai"


def openai_server(settings: Settings) -> Finding:
    """Whether the server answers, takes the key and lists the model. The key is never shown."""
    base = settings.openai_base_url
    key = settings.openai_api_key.get_secret_value()
    request = urllib.request.Request(
        f"{base}/models", headers={"Authorization": f"Bearer {key}"} if key else {}
    )
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirects)
    try:
        with direct.open(request, timeout=ASK_SECONDS) as answer:
            ids = [str(model["id"]) for model in json.load(answer)["data"]]
    except urllib.error.HTTPError as error:
        return _judged(base, error.code)
    except (OSError, ValueError, KeyError, TypeError) as error:
        repair = "start it, or correct OPENAI_BASE_URL (it ends with /v1)"
        return Finding("FAIL", NAME, f"{base} does not answer as it should ({type(error).__name__})", repair)
    if settings.openai_model_id not in ids:
        known = ", ".join(ids[:5]) or "nothing"
        return Finding("warn", NAME, f"{base} lists {known}", "OPENAI_MODEL_ID=<one of them> in .env")
    return Finding("ok", NAME, f"{base} has {settings.openai_model_id}")


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirect is told as what it is; the key goes nowhere else."""

    def redirect_request(self, *_: object) -> None:
        return None


def _judged(base: str, status: int) -> Finding:
    if status in (401, 403):
        return Finding("FAIL", NAME, f"{base} refuses the key", "correct OPENAI_API_KEY in .env")
    return Finding(
        "FAIL", NAME, f"{base}/models answers {status}", "correct OPENAI_BASE_URL (it ends with /v1)"
    )
