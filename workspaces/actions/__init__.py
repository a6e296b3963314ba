"""Changes to workspaces, the people in them and their access tokens.

One family of verbs a module; each change and its event are one transaction.
"""
