"""Files sent and got back, and what of them a model was asked."""

import base64
from typing import Any

import httpx

from tests.world.client import Client


async def put(client: Client, chat_id: str, body: bytes, kind: str = "", name: str = "") -> httpx.Response:
    headers = {b"Content-Type": kind.encode(), **({b"X-File-Name": name.encode()} if name else {})}
    return await client.http.post(f"/api/v1/chat/{chat_id}/files", content=body, headers=headers)


async def sent(client: Client, chat_id: str, body: bytes, kind: str = "", name: str = "") -> dict[str, Any]:
    answer = await put(client, chat_id, body, kind, name)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


async def got(client: Client, chat_id: str, file_id: str) -> httpx.Response:
    return await client.http.get(f"/api/v1/chat/{chat_id}/files/{file_id}")


def pictures_in(side: str, body: dict[str, Any]) -> list[tuple[str, list[bytes], str]]:
    """Role, pictures and words of each message that was asked, but the system prompt."""
    found = []
    for message in body["messages"]:
        if message["role"] == "system":
            continue
        content = message["content"]
        if side == "ollama":
            raw, words = message.get("images", []), content
        elif side == "openai":
            parts = content if isinstance(content, list) else [{"type": "text", "text": content}]
            raw = [p["image_url"]["url"].partition(",")[2] for p in parts if p["type"] == "image_url"]
            words = "".join(p["text"] for p in parts if p["type"] == "text")
        else:
            raw = [block["image"]["source"]["bytes"] for block in content if "image" in block]
            words = "".join(block["text"] for block in content if "text" in block)
        found.append((message["role"], [base64.b64decode(one) for one in raw], words))
    return found
