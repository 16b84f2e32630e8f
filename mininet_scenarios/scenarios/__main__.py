"""Tells scenarios: all of them, or those named."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from importlib import import_module
from typing import Final

from rich.console import Console

from mininet_scenarios import vmoc
from mininet_scenarios.processes import WaitedTooLongError
from mininet_scenarios.story import Story

NAMES: Final = (
    "single",
    "two_by_two",
    "ring",
    "line",
    "controller_dies",
    "noisy_neighbour",
    "vlan_reuse",
    "registered",
)


def main(argv: list[str] | None = None) -> int:
    """Tell them one after the other; 0 if every line of each held."""
    parser = argparse.ArgumentParser(prog="python -m mininet_scenarios.scenarios", description=__doc__)
    parser.add_argument("name", nargs="*", choices=[*NAMES, []], metavar="NAME", help=f"of {', '.join(NAMES)}")
    parser.add_argument("--json", action="store_true", help="the lines as JSON, progress on standard error")
    options = parser.parse_args(argv)
    console = Console(stderr=options.json, soft_wrap=True)
    problem = vmoc.unavailable("A scenario makes")
    if problem:
        console.print(problem, markup=False, highlight=False)
        return 1
    stories: dict[str, Story] = {}
    took: dict[str, float] = {}
    for name in options.name or NAMES:
        module = import_module(f"mininet_scenarios.scenarios.{name}")
        console.rule(f"{name}: {module.__doc__.strip()}", align="left")
        story = stories[name] = Story(console)
        try:
            module.tell(story)
        except (WaitedTooLongError, RuntimeError) as error:
            story.check("The story could be told to its end", str(error), False)
        took[name] = story.seconds
    held = all(story.held for story in stories.values())
    if options.json:
        lines = {name: [asdict(line) for line in story.lines] for name, story in stories.items()}
        print(json.dumps({"held": held, "stories": lines}, indent=2))
    else:
        for name, story in stories.items():
            console.print(story.table(f"{name}, {took[name]:.0f} s"))
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
