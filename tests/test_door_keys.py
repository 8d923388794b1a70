"""At every door a key sees and stops only what is its own, and Nginx refuses in the words of the door."""

import pytest

from tests.test_access import ANNA, BERT, anna, bert, guarded, nobody
from tests.world.client import Client
from tests.world.fakes.ollama import FakeOllama
from tests.world.fakes.reply import HELD

__all__ = ["anna", "bert", "guarded", "nobody"]
assert ANNA != BERT

ASK = {"model": "general", "messages": [{"role": "user", "content": "hi"}]}


async def test_the_runs_of_one_key_are_unknown_to_another(
    anna: Client, bert: Client, ollama: FakeOllama
) -> None:
    ollama.default = HELD
    begun = await anna.http.post(
        "/v1/responses", json={"model": "general", "input": "hi", "background": True}
    )
    address = f"/v1/responses/{begun.json()['id']}"
    for method, url in (("GET", address), ("POST", f"{address}/cancel"), ("DELETE", address)):
        assert (await bert.http.request(method, url)).status_code == 404
    assert (await bert.get("/api/v1/runs"))["count"] == 0
    again = {"model": "general", "input": "hi", "previous_response_id": begun.json()["id"]}
    assert (await bert.http.post("/v1/responses", json=again)).status_code == 404
    assert (await anna.get(address))["status"] == "in_progress"
    assert (await anna.http.post(f"{address}/cancel")).json()["status"] == "cancelled"


@pytest.mark.parametrize(
    ("method", "url"),
    [
        ("POST", "/v1/chat/completions"), ("GET", "/v1/models"), ("POST", "/v1/responses"),
        ("GET", "/v1/responses/resp_12345678"), ("POST", "/api/v1/ag-ui/general"),
    ],
)  # fmt: skip
async def test_without_a_key_a_door_is_shut(
    nobody: Client, ollama: FakeOllama, method: str, url: str
) -> None:
    answer = await nobody.http.request(method, url, json=ASK if method == "POST" else None)
    assert answer.status_code == 401
    assert not url.startswith("/v1/") or answer.json()["error"]["code"] == "unauthorized"
    assert not ollama.exchanges


async def test_what_nginx_refuses_has_the_error_that_clients_read(client: Client) -> None:
    large = await client.http.post("/v1/chat/completions", content=b"x" * (4 * 1024 * 1024 + 1))
    assert (large.status_code, large.headers["Content-Type"]) == (413, "application/json")
    assert large.json()["error"]["message"] == large.json()["detail"]
    elsewhere = await client.http.post("/api/v1/chat/x", content=b"x" * 300_000)
    assert elsewhere.headers["Content-Type"] == "application/problem+json"
    assert "error" not in elsewhere.json()
