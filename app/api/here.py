"""What a route needs: the backend it runs on, the chat in its path, and whose request it is."""

from typing import Annotated

from fastapi import Depends, Path, Request

from app.api.bodies.fields import ChatId
from app.api.keys import Owner
from app.backend import Backend
from app.store.keys import Chat


async def _backend(request: Request) -> Backend:
    backend: Backend = request.app.state.backend
    return backend


Here = Annotated[Backend, Depends(_backend)]


async def _chat(chat_id: Annotated[ChatId, Path(examples=["test-chat-001"])], of: Owner) -> Chat:
    """The chat in the path, among those of the caller."""
    return Chat(of, chat_id)


OneChat = Annotated[Chat, Depends(_chat)]
