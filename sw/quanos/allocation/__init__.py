"""From a measurement to bits: budgets, prices, the exact search, and when training assigns."""
