"""The lock log: what happened to every lock, setting, member and access token.

An event is written in the transaction of the change that it records. Names are kept as text: the
log outlives what it names.
"""
