"""Write the tables of docs/policies.md from the rules of the policy pack: everything below its marker.

`python tools/generate_policies.py`, after a rule has changed.
"""

from __future__ import annotations

import json
import sys
from itertools import groupby
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
PAGE = PROJECT / "docs" / "policies.md"
MARKER = "<!-- below: written by `python tools/generate_policies.py` -->"

sys.path.insert(0, str(PROJECT / "policies"))

from aws_rules import RULES, WITHOUT_RULES  # noqa: E402
from aws_rules.rule import Rule, StackRule  # noqa: E402


def page() -> str:
    """The page with the tables as they must be."""
    head = PAGE.read_text(encoding="utf-8").partition(MARKER)[0]
    return "\n".join([head + MARKER, *rules(), *disabled(), *without_rules()]) + "\n"


def rules() -> list[str]:
    lines = ["", "## Rules"]
    for module, found in groupby(RULES, key=module_of):
        title = module.replace("_", " ").capitalize().replace("Iam", "IAM")
        lines += [
            "",
            f"### {title}",
            "",
            "| rule | level | what holds | elsewhere | options |",
            "|---|---|---|---|---|",
        ]
        lines += [row(rule) for rule in found]
    return lines


def module_of(rule: Rule | StackRule) -> str:
    """The module that has the rule, by its order in `RULES`."""
    return next(name for name in sys.modules if name.startswith("aws_rules.") and has(name, rule)).rpartition(".")[2]


def has(module: str, rule: Rule | StackRule) -> bool:
    return any(rule is each for each in getattr(sys.modules[module], "RULES", ()))


def row(rule: Rule | StackRule) -> str:
    options = "<br>".join(
        f"`{name}`: {option.schema['description']}; {shown(option.default)}" for name, option in rule.options.items()
    )
    level = "off" if rule.level == "disabled" else rule.level
    return f"| `{rule.name}` | {level}, {rule.severity} | {rule.says} | {', '.join(rule.ids)} | {options} |"


def shown(default: object) -> str:
    text = json.dumps(default)
    return f"`{text}`" if len(text) < 60 else "those that admit nothing below TLS 1.2 and have forward secrecy"


def disabled() -> list[str]:
    lines = ["", "## Off unless asked for", "", "| rule | why |", "|---|---|"]
    return [*lines, *(f"| `{rule.name}` | {rule.reason} |" for rule in RULES if rule.reason)]


def without_rules() -> list[str]:
    lines = ["", "## Types without a rule of their own", "", "| type | why |", "|---|---|"]
    return [*lines, *(f"| `{type_}` | {reason} |" for type_, reason in sorted(WITHOUT_RULES.items()))]


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
