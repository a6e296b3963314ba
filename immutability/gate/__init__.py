"""The gate: every write of a manifest passes here on its way to the registry.

The edge sends pulls and blob uploads straight to the registry, and everything else here.
"""
