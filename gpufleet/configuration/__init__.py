"""A stack file described: every key from the models that enforce it, for the reference, for editors and for new files.

Owns the words. Decides nothing: names, types, defaults and examples are read from `gpufleet.planner.requirements`.
"""
