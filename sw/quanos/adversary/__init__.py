"""Attacks beyond the gradient loop of `quanos.attacks`, in protocols, and the gate that judges."""
