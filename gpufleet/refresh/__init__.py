"""A new catalogue from AWS's own answers; the only code of ours that asks AWS outside of Pulumi.

`account` asks and says what went wrong, `region` and `price_list` know what to ask for, `documents` makes the files,
`write` puts them in their place, `run` does it all.
"""
