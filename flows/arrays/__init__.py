"""Systolic arrays: the operands that reach their MACs, and a network's layers on them."""
