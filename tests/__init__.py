"""Tests of the product from the outside, and the real and fake neighbours they need."""
