"""What can be measured of every layer besides ANS (`quanos.ans`), and how a measurement is kept."""
