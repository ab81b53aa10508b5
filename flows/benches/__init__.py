"""Other simulators, beside which the activity engine is checked and measured."""
