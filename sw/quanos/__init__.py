"""QUANOS: bits per layer by adversarial noise sensitivity (Panda, ISLPED 2020)."""

__version__ = "0.1.0"
