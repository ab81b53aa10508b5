"""What a MAC's switching costs: power of cells and stages, the points of the energy table."""
