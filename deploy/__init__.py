"""How the stack is run: on one machine with and without Docker, on a swarm, on Kubernetes."""
