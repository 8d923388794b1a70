"""The stack as `make start` runs it with Docker Compose, and the swarm stack.

Run by `make test-containers`.
"""
