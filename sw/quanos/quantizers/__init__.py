"""Kinds of quantizers besides the uniform one, and what of a model can carry them."""
