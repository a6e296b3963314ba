"""Deletes: the plan that gate, API and admins share, and how each carries it out."""
