"""Immutable tags: which tags a workspace protects, and the locks that hold them."""
