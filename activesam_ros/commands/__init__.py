"""Commands of `activesam` that belong to no single room."""
