"""The reconciler: bring what the registry has to what the locks promise, and look where unsure."""
