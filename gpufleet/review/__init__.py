"""What a change does to the stacks: the machine, the money and the risk, for whoever reviews it.

`snapshot` says what one revision makes of its stacks; `sides` takes the snapshots of both; `compare` puts them side by
side with the help of `changes`, `costs`, `operations` and `risks`; `markdown`, `terminal` and `document` print it.
"""
