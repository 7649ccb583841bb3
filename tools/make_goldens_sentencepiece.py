#!/usr/bin/env python3
"""Write tests/goldens/sentencepiece/: tiny SentencePiece models, trained here on random sentences, with ids and texts of the
PyPI package `sentencepiece`.

NAME.model, and cases.jsonl with lines {"model": NAME, "encode": [[text, ids], ...], "decode": [[ids, text], ...]};
mistral_vectors.jsonl for a model that is not in git.

    python3 -m venv venv && venv/bin/pip install sentencepiece==0.2.3 && venv/bin/python tools/make_goldens_sentencepiece.py
"""
import io
import json
import pathlib
import random
import unicodedata

import sentencepiece

OUT = pathlib.Path(__file__).resolve().parents[1] / "tests/goldens/sentencepiece"
CASES = 150
rng = random.Random(20260401)

WORDS = """the of and to in is you that it he was for on are with his they at be this have from or one had by word but not what
all were we when your can said there an each which she do how their if will up other about out many then them these so some
her would I'll don't he's they've naïve straße über Ünïcode 日本語 日本 한국어 ไทย хлеб вода 1234 56 7 3.14 (a) x=1; foo_bar ...""".split()
RULES = [("ﬁ", "fi"), ("①", "1"), ("e\u0301", "\u00e9"), ("ａ", "a"), ("ab", "X"), ("abc", "Y Z"), ("\t", " "), ("\n", " "), ("\u3000", " "), ("\u200b", ""), ("…", "...")]
CHARACTERS = [c for c in range(0x20, 0x110000) if not 0xD800 <= c < 0xE000 and unicodedata.category(chr(c)) not in ("Cn", "Co")]
PIECES = [" ", "  ", "   ", "▁", "<s>", "</s>", "<unk>", "<0x41>", "<tool>", "<tool", "<a b>", "e\u0301", "ﬁ", "①", "ａ", "ab", "abc", "\t", "\n", "\u3000", "\u200b",
          "…", "が", "ǅ", "\x00", "\x01", "😀", "👩\u200d🔬", "\ufffd", "aaaaaaaaaaaa", "⁇"]


SYLLABLES = "ba ke li mo nu ra se ti vo za pre tion ing er ist un con al ed ly gra sta str ou ea oo ch sh th ar".split()
INVENTED = ["".join(rng.choice(SYLLABLES) for _ in range(rng.randint(1, 4))) for _ in range(1500)]


def sentence():
    return " ".join(rng.choice(WORDS if rng.random() < 0.4 else INVENTED) for _ in range(rng.randint(4, 12)))


def random_text():
    parts = []
    for _ in range(rng.randint(0, 8)):
        r = rng.random()
        parts.append(rng.choice(WORDS) if r < 0.5 else rng.choice(PIECES) if r < 0.85 else chr(rng.choice(CHARACTERS)))
        parts.append(rng.choice(["", " ", " "]))
    return "".join(parts)


def models():
    rules = OUT / "rules.tsv"
    rules.write_text("".join(f"{' '.join(f'{ord(c):X}' for c in a)}\t{' '.join(f'{ord(c):X}' for c in b)}\n" for a, b in RULES))
    shared = dict(vocab_size=420, character_coverage=0.98, user_defined_symbols=["<tool>", "<a b>"], minloglevel=2)
    keep = dict(remove_extra_whitespaces=False, normalization_rule_name="identity")
    return {
        "bpe_bytes": dict(shared, model_type="bpe", byte_fallback=True, **keep),  # as Llama and Mistral
        "bpe_rules": dict(shared, model_type="bpe", normalization_rule_tsv=str(rules), split_digits=True, vocab_size=300),
        "bpe_phrases": dict(shared, model_type="bpe", split_by_whitespace=False, add_dummy_prefix=False, **keep),
        "unigram_nmt_nfkc": dict(shared, model_type="unigram", vocab_size=200),  # as T5 and XLM-R
        "unigram_bytes": dict(shared, model_type="unigram", byte_fallback=True, vocab_size=450, **keep),
        "unigram_rules": dict(shared, model_type="unigram", vocab_size=200, normalization_rule_tsv=str(rules), pad_id=3, unk_surface="?"),
    }


def write_mistral():
    """The 47 inputs of llama.cpp's vectors under ../shared/data by Mistral's model: [text, ids, decoded] a line."""
    shared = OUT.parents[2] / "../shared/data"
    processor = sentencepiece.SentencePieceProcessor(model_file=str(shared / "mistral-tokenizer/tokenizer.model"))
    texts = (shared / "tokenizer-vectors/ggml-vocab-llama-spm.gguf.inp").read_text().split("\n__ggml_vocab_test__\n")
    lines = ([text, ids, processor.decode(ids)] for text, ids in ((text, processor.encode(text)) for text in texts))
    (OUT / "mistral_vectors.jsonl").write_text("".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines))


def main():
    OUT.mkdir(exist_ok=True)
    sentences = [sentence() for _ in range(2000)]
    lines = []
    for name, options in models().items():
        model = io.BytesIO()
        sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(sentences), model_writer=model, **options)
        (OUT / f"{name}.model").write_bytes(model.getvalue())
        processor = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
        texts = ["", " ", "  a  b  ", "▁", *(random_text() for _ in range(CASES))]
        encode = [[text, processor.encode(text)] for text in texts]
        decode = [[ids, processor.decode(ids)] for _, ids in rng.sample(encode, 30)]
        normal = [i for i in range(processor.get_piece_size()) if not processor.is_control(i)]
        drawn = [[rng.choice(normal) for _ in range(rng.randint(1, 12))] for _ in range(40)]
        drawn += [[rng.choice([i for i in normal if processor.is_byte(i)] or normal) for _ in range(rng.randint(1, 8))] for _ in range(40)]
        decode += [[ids, processor.decode(ids)] for ids in drawn]
        lines.append({"model": name, "encode": encode, "decode": decode})
    (OUT / "rules.tsv").unlink()
    (OUT / "cases.jsonl").write_text("".join(json.dumps(line, ensure_ascii=True, separators=(",", ":")) + "\n" for line in lines))
    write_mistral()
    for file in sorted(OUT.iterdir()):
        print(f"{file}: {file.stat().st_size} bytes")


if __name__ == "__main__":
    main()
