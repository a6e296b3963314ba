"""Pushes: the plan that gate and API share, the gate's own way, and the API's checks."""
