"""What people do to a chat: send, stop, delete, and settling what a lost backend left. Knows no HTTP."""
