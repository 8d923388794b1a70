"""HTTP: routes, streams, errors, access. Nothing outside this folder imports FastAPI."""
