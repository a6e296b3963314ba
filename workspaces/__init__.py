"""Workspaces, who may do what in them, and the lock log that records what was done."""
