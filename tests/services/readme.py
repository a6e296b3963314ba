"""The commands of the README, word for word, and what it says about each of them."""

import re
from dataclasses import dataclass

from tests.services.site import ROOT

_COMMANDS = ("login ", "push ", "delete ", "check_push ", ".venv/bin/python manage.py ")
_OUTCOME = re.compile(r'^\{"allowed":\w+,"outcome":"(\w+)"')


@dataclass(frozen=True)
class Step:
    """A command, and what becomes of it. `outcome` is that of a check, empty for all others."""

    command: str
    is_refused: bool
    outcome: str = ""


def read_readme() -> tuple[str, list[Step]]:
    """Return the README's shorthands, to be defined first, and its steps, in order."""
    text = (ROOT / "README.md").read_text()
    text = text[text.index("\n## Try it\n") : text.index("\n## How we read")]
    lines = [line[4:] for line in text.splitlines() if line.startswith("    ")]
    shorthands, steps, is_function = [], [], False
    for line in lines:
        is_function = is_function or line.endswith("() {")
        if is_function or line.startswith("A="):
            shorthands.append(line)
        elif line.startswith(_COMMANDS):
            steps.append(Step(line, "refused" in line))
        elif found := _OUTCOME.match(line):
            steps = [_expect(step, found[1]) for step in steps]
        is_function = is_function and line != "}"
    return "\n".join(shorthands), steps


def _expect(step: Step, outcome: str) -> Step:
    """Give an outcome to a check that has none yet."""
    if not step.command.startswith("check_push ") or step.outcome:
        return step
    return Step(step.command, step.is_refused, outcome)
