"""The policy pack: `pulumi preview --policy-pack policies`. Its rules are in `aws_rules`."""

from aws_rules import RULES
from aws_rules.pack import make_pack

make_pack(RULES)
