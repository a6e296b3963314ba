"""The gate: every write of a manifest passes here on its way to the registry.

The edge sends pulls and blob uploads straight to the registry, and everything else here.
"""

# How many requests the gate works on at once. A quarter of them may be pushes that wait for another
# one, so that these never starve the others.
GATE_THREADS = 16
