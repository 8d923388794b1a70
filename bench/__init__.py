"""Measures the product against a bare proxy (the limit) and a naive service.

Knows the product by its HTTP alone.
"""
