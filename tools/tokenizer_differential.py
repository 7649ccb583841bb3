#!/usr/bin/env python3
"""Compare octavo's ids with those of the PyPI package `tokenizers` on generated strings.

    venv/bin/pip install tokenizers==0.23.3
    ninja -C build/cpu tokenizer_ids
    venv/bin/python tools/tokenizer_differential.py --program build/cpu/tests/tokenizer_ids -n 1000000 FOLDER_OR_JSON...

Strings draw from every plane and category of Unicode, white space, controls, digits, long runs, words, and the tokenizer's own
added tokens. Special tokens are parsed and added in half of them. Texts are also decoded again: where the package gives the
text back, octavo must, and --lossless asks for that on every string. Ends with 1 and the first differences when there are any.
--out FILE keeps the counts: bench/results/cpu/tokenizer_differential.json is what docs/models.md shows.
"""
import argparse
import json
import pathlib
import random
import struct
import subprocess
import sys
import tempfile
import threading
import time
import unicodedata

import tokenizers
from tokenizers import Tokenizer

CODE_POINTS = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
OF_CATEGORY: dict[str, list[int]] = {}
for code in CODE_POINTS:
    OF_CATEGORY.setdefault(unicodedata.category(chr(code)), []).append(code)
CATEGORIES = sorted(OF_CATEGORY)
DECOMPOSABLE = [c for c in CODE_POINTS if unicodedata.decomposition(chr(c))]
SPACES = [9, 10, 11, 12, 13, 32, 32, 32, 0x1C, 0x1F, 0x85, 0xA0, 0x1680, 0x180E, *range(0x2000, 0x2010), 0x2028, 0x2029, 0x202F, 0x205F, 0x2060, 0x3000, 0xFEFF]
WORDS = """the of and to in is you that it he was for on are with his they at be this have from or one had by word but not what
all were we when your can said there use each which she do how their if will up other about out many then them these so some
her would I'll don't he's WE'RE they've I'm she'd 'S 'LL 'ſ it's o'clock naïve cafe\u0301 straße Ünïcödé ǅ İstanbul ﬁn ① ½ 日本語 한국어
ไทย हिन्दी עברית العربية Việt нещо int main() { return 0; } x_1 <tag> https://a.b/c?d=e&f --flag 3.14e-10 0xFF \\n \t\t ''' \"\"\" ###""".split(" ")


def piece(rng, added):
    r = rng.random()
    if r < 0.30:
        return rng.choice(WORDS)
    if r < 0.38:
        return " " * rng.choice([1, 1, 2, 3, 8, 17])
    if r < 0.45:
        return "".join(chr(rng.choice(SPACES)) for _ in range(rng.randint(1, 4)))
    if r < 0.52:
        return "".join(chr(rng.randint(32, 126)) for _ in range(rng.randint(1, 8)))
    if r < 0.58:
        return "".join(rng.choice("0123456789") for _ in range(rng.randint(1, 12)))
    if r < 0.62:
        return chr(rng.randrange(0, 32))
    if r < 0.76:
        return "".join(chr(rng.choice(OF_CATEGORY[rng.choice(CATEGORIES)])) for _ in range(rng.randint(1, 4)))
    if r < 0.82:
        return chr(rng.choice(DECOMPOSABLE))
    if r < 0.88:
        plane = rng.randrange(17)
        return "".join(chr(c) for c in (plane << 16 | rng.randrange(0x10000) for _ in range(rng.randint(1, 3))) if not 0xD800 <= c < 0xE000)
    if r < 0.92:
        return chr(rng.choice(OF_CATEGORY[rng.choice(CATEGORIES)])) * rng.choice([2, 3, 7, 30])
    if r < 0.925:
        return rng.choice(["a", " ", "\n", "0", "=", "é", "中", "\u0301", "😀", "ab"]) * rng.choice([100, 500])
    if r < 0.96 and added:
        return rng.choice(added)
    return rng.choice(["<s>", "</s>", "<unk>", "<0x41>", "▁", "##", "[CLS]", "[MASK]", "<|endoftext|>", "<|end", "'", "’", "-", "…"])


def texts(seed, count, added):
    rng = random.Random(seed)
    for _ in range(count):
        joiner = rng.choice(["", "", " "])
        yield joiner.join(piece(rng, added) for _ in range(rng.randint(0, 6)))


class Program:
    def __init__(self, path, tokenizer, flags):
        self.process = subprocess.Popen([path, str(tokenizer), str(flags)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.decodes = flags & 4

    def feed(self, batch):
        frames = b"".join(struct.pack("<i", len(t)) + t for t in (text.encode() for text in batch))
        writer = threading.Thread(target=lambda: (self.process.stdin.write(frames), self.process.stdin.flush()))
        writer.start()
        answers = [self.answer() for _ in batch]
        writer.join()
        return answers

    def number(self):
        data = self.process.stdout.read(4)
        if len(data) != 4:
            sys.exit(f"the program ended with {self.process.wait()}")
        return struct.unpack("<i", data)[0]

    def answer(self):
        count = self.number()
        if count < 0:
            return None, self.process.stdout.read(self.number()).decode()
        ids = list(struct.unpack(f"<{count}i", self.process.stdout.read(4 * count)))
        return ids, self.process.stdout.read(self.number()).decode() if self.decodes else None


def compare(options, path, seed):
    file = path / "tokenizer.json" if path.is_dir() else path
    package = Tokenizer.from_file(str(file))
    package.no_truncation(), package.no_padding()
    added = [t["content"] for t in json.loads(file.read_text()).get("added_tokens", [])][:64]
    compared = different = not_back = 0
    start = time.time()
    for flags in (3, 0):
        package.encode_special_tokens = not flags & 2
        program = Program(options.program, file, flags | 4)
        left = options.n // 2
        while left > 0:
            batch = list(texts(f"{seed}/{flags}/{left}", min(left, 4000), added))
            left -= len(batch)
            wanted = [e.ids for e in package.encode_batch_fast(batch, add_special_tokens=bool(flags & 1))]
            decoded = package.decode_batch(wanted, skip_special_tokens=False)
            for text, ids, back, (got, again) in zip(batch, wanted, decoded, program.feed(batch)):
                compared += 1
                problem = None
                if got is None:
                    problem = f"refused: {again}"
                elif got != ids:
                    problem = f"octavo {got}\n  package {ids}"
                elif back != again:
                    problem = f"decoded {again!r}, package {back!r}"
                elif options.lossless and not flags and again != text:
                    not_back += 1
                    problem = f"decode gives {again!r}"
                if problem:
                    different += 1
                    if different <= 5:
                        print(f"{path}: {text!r} (options {flags})\n  {problem}", flush=True)
        program.process.stdin.close()
    lossless = f", {not_back} do not come back" if options.lossless else ""
    print(f"{path}: {compared} strings, {different} differ{lossless}, {time.time() - start:.0f} s, seed {seed}", flush=True)
    return {"strings": compared, "differences": different, "seed": seed} | ({"do_not_come_back": not_back} if options.lossless else {})


def head():
    git = subprocess.run(["git", "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, cwd=pathlib.Path(__file__).parent)
    return git.stdout.strip()


def keep(file, rows, commit):
    """Adds rows {tokenizer: counts} to the file, each with what it was taken with."""
    kept = json.loads(file.read_text())["tokenizers"] if file.exists() else {}
    taken_with = {"package": tokenizers.__version__, "commit": commit, "date": time.strftime("%Y-%m-%d", time.gmtime())}
    kept |= {name: counts | taken_with for name, counts in rows.items()}
    file.write_text(json.dumps({"schema": 1, "tokenizers": dict(sorted(kept.items()))}, indent=1) + "\n")


def bert_json(vocab):
    """bert-base-uncased as its tokenizer.json describes it, from vocab.txt."""
    from tokenizers import BertWordPieceTokenizer
    tokenizer = BertWordPieceTokenizer(str(vocab), lowercase=True)
    file = pathlib.Path(tempfile.mkdtemp()) / "tokenizer.json"
    tokenizer.save(str(file))
    return file


def name_of(path):
    """The folder that holds the file: gpt2-tokenizer; stories260K of stories260K/hf."""
    folder = path if path.is_dir() else path.parent
    return folder.parent.name if folder.name == "hf" else folder.name


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("tokenizers", nargs="+", type=pathlib.Path, help="folders, tokenizer.json files, or a vocab.txt of BERT")
    parser.add_argument("--program", required=True, help="tokenizer_ids")
    parser.add_argument("-n", type=int, default=20000, help="strings for each tokenizer")
    parser.add_argument("--seed", default="1")
    parser.add_argument("--lossless", action="store_true", help="decode(encode(x)) must be x")
    parser.add_argument("--out", type=pathlib.Path, help="a JSON file that the counts are added to")
    options = parser.parse_args()
    differences, commit = 0, head()
    for path in options.tokenizers:
        counts = compare(options, bert_json(path) if path.name == "vocab.txt" else path, options.seed)
        differences += counts["differences"]
        if options.out:
            keep(options.out, {name_of(path): counts}, commit)
    sys.exit(1 if differences else 0)


if __name__ == "__main__":
    main()
