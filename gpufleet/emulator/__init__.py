"""An AWS emulator on loopback: moto's server with what the program uses and moto forgets or lacks.

Owns, one module per service, the models and responses that differ from moto's; a switch for faults; an inventory of
what exists; and the server. Leaves everything else to moto. Nothing in the product imports this package except the
commands that start it (`gpufleet.commands.local`), which run it as `python -m gpufleet.emulator`.
"""
