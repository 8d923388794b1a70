"""Redis, backends and Nginx of this machine under supervisor, without Docker. Knows nothing of chats."""
