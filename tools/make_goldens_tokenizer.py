#!/usr/bin/env python3
"""Write tests/goldens/tokenizer_small.jsonl: small tokenizers of many kinds, with the ids and texts of the PyPI package.

Lines: {"model": name, "json": {...}} and {"tokenizer": name, "json": {..., "model": name of a model line}, "encode": [[text, flags,
ids], ...], "decode": [[ids, skip_special, text], ...]}; flags: 1 add special tokens, 2 parse special tokens.

    python3 -m venv venv && venv/bin/pip install tokenizers==0.23.3 && venv/bin/python tools/make_goldens_tokenizer.py
"""
import base64
import json
import pathlib
import random
import unicodedata

from tokenizers import Tokenizer, models, pre_tokenizers, trainers

ROOT = pathlib.Path(__file__).resolve().parents[1]
OUT = ROOT / "tests/goldens/tokenizer_small.jsonl"
CASES = 40
rng = random.Random(20260101)

CODE_POINTS = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
ASSIGNED = [c for c in CODE_POINTS if unicodedata.category(chr(c)) not in ("Cn", "Co")]
OF_KIND = {kind: [c for c in ASSIGNED if unicodedata.category(chr(c))[0] == kind] for kind in "LNMPSZ"}
DECOMPOSABLE = [c for c in CODE_POINTS if unicodedata.decomposition(chr(c))]
SPACES = [9, 10, 11, 12, 13, 32, 0x1C, 0x85, 0xA0, 0x1680, 0x180E, *range(0x2000, 0x200C), 0x2028, 0x2029, 0x202F, 0x205F, 0x3000, 0xFEFF]
WORDS = """the of and to in is you that it he was for on are with his they at be this have from or one had by word but not what all
were we when your can said there an each which she do how their if will up other about out many then them these so some her would
I'll don't he's WE'RE they've I'm she'd 'S 'LL 'ſ aab ab aaab cafe\u0301 naïve straße Ünïcode ǅ İ ﬁ ① 日本 한국어 ไทย हिन्दी""".split()
RULES = ["e\u0301", "ﬁ", "①", "ａ", "ab", "abc", "\u200b", "…", "①\u0301", "ab\u0301", "a\u200d", "\r\n", "👩\u200d🔬", "हि", "각\u0301", "🇩🇪\u0301"]  # for Precompiled
MARKERS = ["<unk>", "<s>", "</s>", "<0x41>", "<0x-1>", "▁", "##", "[CLS]", "<x>", "<x", "  ", " <l>", "<r> "]


def piece():
    r = rng.random()
    if r < 0.35:
        return rng.choice(WORDS)
    if r < 0.45:
        return " " * rng.randint(1, 3)
    if r < 0.52:
        return "".join(chr(rng.choice(SPACES)) for _ in range(rng.randint(1, 4)))
    if r < 0.60:
        return "".join(chr(rng.randint(32, 126)) for _ in range(rng.randint(1, 6)))
    if r < 0.66:
        return "".join(rng.choice("0123456789") for _ in range(rng.randint(1, 6)))
    if r < 0.82:
        return "".join(chr(rng.choice(OF_KIND[rng.choice("LLNMPSZ")])) for _ in range(rng.randint(1, 3)))
    if r < 0.87:
        return chr(rng.choice(DECOMPOSABLE))
    if r < 0.91:
        return chr(rng.choice(CODE_POINTS))
    if r < 0.93:
        return chr(rng.choice(ASSIGNED)) * rng.randint(2, 9)
    return rng.choice(MARKERS)


def random_text():
    return "".join(piece() + (" " if rng.random() < 0.5 else "") for _ in range(rng.randint(0, 8)))


def added(i, content, **flags):
    return dict(dict(id=i, content=content, single_word=False, lstrip=False, rstrip=False, normalized=False, special=False), **flags)


def trained(model, trainer, pre, text=random_text):
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre
    tokenizer.train_from_iterator([text() for _ in range(3000)], trainer)
    return json.loads(tokenizer.to_str())["model"]


def spm_bpe():
    """SentencePiece-style: <unk> <s> </s>, 256 bytes, then characters and merges over ▁-words."""
    specials = ["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256)]
    return trained(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True),
                   trainers.BpeTrainer(vocab_size=440, special_tokens=specials, limit_alphabet=80, show_progress=False),
                   pre_tokenizers.Metaspace())


def byte_bpe():
    return trained(models.BPE(), trainers.BpeTrainer(vocab_size=360, show_progress=False, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet())),
                   pre_tokenizers.ByteLevel(add_prefix_space=False))


def word_piece():
    return trained(models.WordPiece(unk_token="[UNK]", max_input_chars_per_word=12),
                   trainers.WordPieceTrainer(vocab_size=260, special_tokens=["[UNK]", "[CLS]", "[SEP]"], limit_alphabet=60, show_progress=False),
                   pre_tokenizers.BertPreTokenizer())


def unigram():
    return trained(models.Unigram(), trainers.UnigramTrainer(vocab_size=200, special_tokens=["<unk>", "<s>"], unk_token="<unk>", show_progress=False),
                   pre_tokenizers.Metaspace(), lambda: " ".join(rng.choice(WORDS) for _ in range(12)))


def template(*pieces, **ids):
    return {"type": "TemplateProcessing", "single": [{"Sequence": {"id": "A", "type_id": 0}} if p == "$A" else {"SpecialToken": {"id": p, "type_id": 0}} for p in pieces],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
            "special_tokens": {name: {"id": name, "ids": [i], "tokens": [name]} for name, i in ids.items()}}


def sequence(kind, *steps):
    return {"type": "Sequence", {"normalizer": "normalizers", "pre": "pretokenizers", "decoder": "decoders", "post": "processors"}[kind]: list(steps)}


def split(pattern, behavior="Isolated", invert=False, kind="Regex"):
    return {"type": "Split", "pattern": {kind: pattern}, "behavior": behavior, "invert": invert}


def configurations():
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    gpt2 = dict(byte_level, use_regex=True)
    mark = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
    llama2 = {"normalizer": sequence("normalizer", {"type": "Prepend", "prepend": "▁"}, mark), "pre_tokenizer": None,
              "decoder": sequence("decoder", {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"},
                                  {"type": "Strip", "content": " ", "start": 1, "stop": 0}),
              "post_processor": template("<s>", "$A", **{"<s>": 1}),
              "added_tokens": [added(i, t, special=True) for i, t in enumerate(["<unk>", "<s>", "</s>"])]}
    llama3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
    o200k = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?"
             r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
    metaspace = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": True}
    flags = [added(360, "<x>", special=True), added(361, "<l>", lstrip=True), added(362, "<r>", rstrip=True), added(363, "the", single_word=True),
             added(364, "WORD", normalized=True), added(365, "  ", normalized=True)]
    bert = {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "strip_accents": None, "lowercase": True}
    bytes_of = lambda pre, **more: dict({"model": "byte_bpe", "pre_tokenizer": pre, "decoder": gpt2}, **more)
    return {
        "llama2": dict(llama2, model="spm_bpe"),
        "llama2 with Metaspace": dict(llama2, model="spm_bpe", normalizer=None, pre_tokenizer=metaspace, decoder=metaspace),
        "llama2 without bytes": dict(llama2, model="spm_bpe_unk", normalizer={"type": "NFKC"}, pre_tokenizer=dict(metaspace, prepend_scheme="always", split=False)),
        "gpt2": bytes_of(gpt2),
        "gpt2 with prefix space, NFC": bytes_of(dict(gpt2, add_prefix_space=True), normalizer={"type": "NFC"}),
        "llama3": bytes_of(sequence("pre", split(llama3), byte_level), model="byte_bpe_ignore"),
        "qwen2": bytes_of(sequence("pre", split(llama3.replace("{1,3}", "")), byte_level), normalizer={"type": "NFC"}),
        "o200k": bytes_of(sequence("pre", split(o200k), byte_level)),
        "several splits": bytes_of(sequence("pre", split(r"\p{N}{1,3}"), split(r"\b[^\W\d_]\w*", "MergedWithPrevious"), split(" ", "MergedWithNext", kind="String"),
                                            split(r"\h+|\P{L}", "Contiguous", True), byte_level)),
        "characters": bytes_of(sequence("pre", {"type": "Punctuation", "behavior": "Isolated"}, {"type": "Digits", "individual_digits": True},
                                        {"type": "WhitespaceSplit"}, byte_level), normalizer={"type": "NFD"}),
        "added tokens": bytes_of(gpt2, added_tokens=flags, normalizer={"type": "Lowercase"}, post_processor=sequence("post", byte_level, template("<x>", "$A", **{"<x>": 360}))),
        "accents": bytes_of({"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}, normalizer=sequence("normalizer", {"type": "NFKD"}, {"type": "StripAccents"},
                            {"type": "Strip", "strip_left": True, "strip_right": True}, {"type": "Replace", "pattern": {"Regex": r"\s{2,}"}, "content": " "}, {"type": "Nmt"})),
        "bert": {"model": "word_piece", "normalizer": bert, "pre_tokenizer": {"type": "BertPreTokenizer"}, "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
                 "post_processor": template("[CLS]", "$A", "[SEP]", **{"[CLS]": 1, "[SEP]": 2}), "added_tokens": [added(i, t, special=True) for i, t in enumerate(["[UNK]", "[CLS]", "[SEP]"])]},
        "unigram": {"model": "unigram", "normalizer": {"type": "NFKC"}, "pre_tokenizer": dict(metaspace, prepend_scheme="always"), "decoder": dict(metaspace, prepend_scheme="always"),
                    "added_tokens": [added(0, "<unk>", special=True), added(1, "<s>", special=True)]},
        "no decoder": {"model": "word_piece", "pre_tokenizer": {"type": "Whitespace"}},
        "precompiled": {"model": "unigram", "normalizer": {"type": "Precompiled", "precompiled_charsmap": charsmap()},
                        "pre_tokenizer": dict(metaspace, prepend_scheme="always"), "decoder": dict(metaspace, prepend_scheme="always")},
        "scripts": bytes_of(sequence("pre", {"type": "UnicodeScripts"}, byte_level)),
    }


def charsmap():
    """The rules of tests/goldens/sentencepiece/unigram_rules.model (field 2 of its normalizer_spec, field 3), in base64."""
    def fields(message):
        at = 0

        def number():
            nonlocal at
            value = shift = 0
            while True:
                byte, at = message[at], at + 1
                value, shift = value | (byte & 127) << shift, shift + 7
                if byte < 128:
                    return value
        while at < len(message):
            tag = number()
            size = {0: 0, 1: 8, 2: None, 5: 4}[tag & 7]
            value = number() if tag & 7 in (0, 2) else None
            if tag & 7 == 2:
                value, size = message[at:at + value], value
            yield tag >> 3, value
            at += size
    model = (OUT.parent / "sentencepiece/unigram_rules.model").read_bytes()
    return base64.b64encode(dict(fields(dict(fields(model))[3]))[2]).decode()


def build(configuration, model):
    document = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None, "pre_tokenizer": None, "post_processor": None, "decoder": None}
    document.update(configuration, model=model)
    return Tokenizer.from_str(json.dumps(document))


def main():
    base = {"spm_bpe": spm_bpe(), "byte_bpe": byte_bpe(), "word_piece": word_piece(), "unigram": unigram()}
    variants = {"spm_bpe_unk": ("spm_bpe", {"byte_fallback": False, "fuse_unk": False}), "byte_bpe_ignore": ("byte_bpe", {"ignore_merges": True})}
    lines = [{"model": name, "json": model} for name, model in base.items()]
    lines += [{"model": name, "like": origin, "json": change} for name, (origin, change) in variants.items()]
    found = dict(base, **{name: dict(base[origin], **change) for name, (origin, change) in variants.items()})
    for name, configuration in configurations().items():
        tokenizer = build(configuration, found[configuration["model"]])
        encode, decode = [], []
        for _ in range(CASES):
            text, flags = random_text(), rng.choice([3, 3, 2, 1, 0])
            if name == "precompiled":
                text += "".join(rng.choice(RULES) for _ in range(rng.randint(0, 6)))
            tokenizer.encode_special_tokens = not flags & 2
            encode.append([text, flags, tokenizer.encode(text, add_special_tokens=bool(flags & 1)).ids])
        for i in range(CASES // 2):
            ids = rng.choice(encode)[2] if i % 2 else [rng.randrange(tokenizer.get_vocab_size()) for _ in range(rng.randint(1, 12))]
            skip = rng.random() < 0.5
            decode.append([ids, skip, tokenizer.decode(ids, skip_special_tokens=skip)])
        lines.append({"tokenizer": name, "json": configuration, "encode": encode, "decode": decode})
    OUT.write_text("".join(json.dumps(line, ensure_ascii=True, separators=(",", ":")) + "\n" for line in lines))
    print(f"{OUT}: {OUT.stat().st_size} bytes, {len(configurations())} tokenizers")


if __name__ == "__main__":
    main()
