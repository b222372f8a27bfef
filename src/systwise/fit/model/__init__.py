"""The model: components, nuisances, constraints and templates, and the data that go with it."""
