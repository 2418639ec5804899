"""What the planes implement. Every adapter passes tests/contracts."""
