"""Proofs that circuits are equal: cuts at registers, their correspondence, the engines."""
