"""Prices of models in batch mode, and what requests cost; unknown where nobody publishes a price."""
