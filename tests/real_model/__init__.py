"""Against a real model server: llama.cpp with a toy model. `make test-model` runs them."""
