"""Amaranth generators of multipliers and MACs, and their golden models."""
