"""Redis: chats, events, stops, leases, bells. Nothing outside this folder imports redis."""
