"""What a plan's policies do with a trace of requests, second by second, before anything runs.

Pure: no network, no clock, no randomness. Owns the replay and its judgement; leaves the policies' numbers to the plan and
the replica's speed to the user.
"""
