"""The neighbours that cannot be real in a test: models on the wire, and bad networks.

Knows nothing of the product.
"""
