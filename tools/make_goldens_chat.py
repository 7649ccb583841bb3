#!/usr/bin/env python3
"""Writes tests/goldens/chat_templates.jsonl: templates of our own (chat_template_cases.py) as transformers renders them.

The first line holds the messages and variables of all cases; each other line a template with its text, or with the error
that jinja2 reports. Needs transformers and jinja2. --tool build/cpu/tests/chat_template_tool also compares.
"""
import argparse
import json
import sys
from pathlib import Path

from transformers.utils import chat_template_utils

import chat_template_cases as cases
import chat_template_parity as parity

OUT = Path(__file__).resolve().parent.parent / "tests/goldens/chat_templates.jsonl"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tool")
    args = parser.parse_args()
    chat_template_utils.datetime = parity.FixedTime
    shared = {"messages": cases.MESSAGES, "variables": cases.VARIABLES, "special_tokens": {"bos_token": "<s>", "eos_token": "</s>"},
              "add_generation_prompt": True}
    requests = [{"template": template, **shared} for _, template in cases.cases()]
    lines, answers = [json.dumps(shared, ensure_ascii=False)], []
    for (name, template), request in zip(cases.cases(), requests):
        answers.append(parity.by_transformers(request))
        lines.append(json.dumps({"name": name, "template": template, **answers[-1]}, ensure_ascii=False))
    OUT.write_text("\n".join(lines) + "\n")
    print(f"{OUT.name}: {len(answers)} templates, {sum('error' in a for a in answers)} of them errors, {OUT.stat().st_size} bytes")
    if not args.tool:
        return 0
    wrong = 0
    for (name, template), theirs, ours in zip(cases.cases(), answers, parity.by_octavo(args.tool, requests)):
        if theirs != ours and not ("error" in theirs and "error" in ours):
            wrong += 1
            print(f"--- {name}\n  transformers: {json.dumps(theirs, ensure_ascii=False)[:600]}\n  octavo:       {json.dumps(ours, ensure_ascii=False)[:600]}")
    print(f"{wrong} differ")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
