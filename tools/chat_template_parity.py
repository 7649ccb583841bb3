#!/usr/bin/env python3
"""Renders chat templates with transformers (jinja2) and with octavo and compares.

  tools/chat_template_parity.py --tool build/cpu/tests/chat_template_tool FOLDER...   every *.jinja below the folders, for
                                                                                      each of CONVERSATIONS
Published templates are other people's work: read them where they lie, commit none. Needs the packages transformers and jinja2.
"""
import argparse
import datetime
import json
import subprocess
import sys
from pathlib import Path

from transformers.utils import chat_template_utils

NOW = datetime.datetime(2024, 7, 26, 12, 34, 56)
TOKENS = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}
TOOLS = [
    {"type": "function", "function": {
        "name": "get_weather", "description": "Weather of a city, \"now\" <or> later",
        "parameters": {"type": "object", "properties": {
            "city": {"type": "string", "description": "Name of the city"},
            "days": {"type": "integer", "description": "Days ahead", "default": 1},
            "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]},
            "tags": {"type": "array", "items": {"type": "string"}},
            "place": {"type": "object", "properties": {"lat": {"type": "number"}, "lon": {"type": "number"}}, "required": ["lat"]}},
            "required": ["city"]}}},
    {"type": "function", "function": {"name": "now", "description": "The time", "parameters": {"type": "object", "properties": {}}}}]
CALL = {"id": "abcdef123", "type": "function", "function": {"name": "get_weather", "arguments": {"city": "Zürich", "days": 2}}}
CONVERSATIONS = {
    "plain": {"messages": [{"role": "user", "content": "Hello, how are you?"}], "add_generation_prompt": True},
    "turns": {"messages": [{"role": "system", "content": "You are terse.\n"},
                           {"role": "user", "content": "  What is 7 * 6? "},
                           {"role": "assistant", "content": "42"},
                           {"role": "user", "content": "Grüße 👋🏽 — and \"why\"?\n\n"}], "add_generation_prompt": True},
    "trained": {"messages": [{"role": "user", "content": "Tell me"}, {"role": "assistant", "content": "<think>hm\n</think>\n\nNo."},
                             {"role": "user", "content": "Please"}, {"role": "assistant", "content": "Yes.", "reasoning_content": "well"}],
                "add_generation_prompt": False, "variables": {"enable_thinking": False}},
    "tools": {"messages": [{"role": "user", "content": "Weather in Zürich?"},
                           {"role": "assistant", "content": "", "tool_calls": [CALL]},
                           {"role": "tool", "name": "get_weather", "tool_call_id": "abcdef123", "content": "{\"temp\": 21.5}"},
                           {"role": "assistant", "content": "21.5 degrees."}, {"role": "user", "content": "Thanks"}],
              "tools": TOOLS, "add_generation_prompt": True},
    "parts": {"messages": [{"role": "system", "content": [{"type": "text", "text": "Look."}]},
                           {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What is this?"}]},
                           {"role": "assistant", "content": [{"type": "text", "text": "A cat."}]},
                           {"role": "user", "content": [{"type": "text", "text": "Sure?"}]}],
              "documents": [{"title": "Cats", "text": "Cats purr."}], "add_generation_prompt": True,
              "variables": {"enable_thinking": True, "date_string": "1 May 2025"}},
}


class FixedTime(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return NOW


def by_transformers(request: dict) -> dict:
    messages = [{k: v for k, v in m.items() if v is not None} for m in request["messages"]]  # as apply_chat_template does
    try:
        texts, _ = chat_template_utils.render_jinja_template(
            conversations=[messages], tools=request.get("tools"), documents=request.get("documents"),
            chat_template=request["template"], add_generation_prompt=request.get("add_generation_prompt", False),
            **{**request.get("special_tokens", {}), **request.get("variables", {})})
        return {"text": texts[0]}
    except Exception as e:  # noqa: BLE001  whatever a template raises is its answer
        return {"error": f"{type(e).__name__}: {e}"}


def by_octavo(tool: str, requests: list[dict]) -> list[dict]:
    lines = "".join(json.dumps(r) + "\n" for r in requests)
    done = subprocess.run([tool], input=lines, capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--tool", required=True)
    parser.add_argument("--verbose", action="store_true")
    args = parser.parse_args()
    chat_template_utils.datetime = FixedTime
    files = sorted({f for folder in args.folders for f in folder.rglob("*.jinja")})
    seen, requests, names = set(), [], []
    for file in files:
        template = file.read_text()
        if template in seen:
            continue
        seen.add(template)
        for name, conversation in CONVERSATIONS.items():
            requests.append({"template": template, "special_tokens": TOKENS, **conversation})
            names.append((file.name, name))
    counts = {"same text": 0, "both refuse": 0, "different": 0}
    good, bad = set(), set()
    for (file, name), request, ours in zip(names, requests, by_octavo(args.tool, requests)):
        theirs = by_transformers(request)
        kind = "same text" if theirs == ours else "both refuse" if "error" in theirs and "error" in ours else "different"
        counts[kind] += 1
        (bad if kind == "different" else good).add(file)
        if kind == "different" or (args.verbose and kind == "both refuse"):
            print(f"--- {file}, {name}: {kind}\n  transformers: {json.dumps(theirs)[:1500]}\n  octavo:       {json.dumps(ours)[:1500]}")
    print(f"{len(good - bad)} of {len(seen)} templates agree in all of {len(CONVERSATIONS)} conversations: {counts}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
