#!/usr/bin/env python3
"""Write tests/goldens/ with the real tokenizers, transformers and compressed-tensors packages, on a CPU.

    pip install torch transformers tokenizers safetensors compressed-tensors
    python3 tools/make_goldens.py [--demo models/demo] [--out tests/goldens]

Same packages, same bytes: every random choice is seeded. Versions go into tests/goldens/README.md.
"""
import argparse
import json
import random
import re
import shutil
import sys
import unicodedata
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer

# ---- strings for the tokenizer ------------------------------------------------------------------------------------------

SPACES = [" ", "  ", "   ", "\t", "\n", "\r\n", "\n\n", "\r", "\v", "\f", "\x1c", "\x85", "\u00a0", "\u1680", "\u180e", "\u2002", "\u2003", "\u2009",
          "\u200b", "\u2028", "\u2029", "\u202f", "\u205f", "\u3000", "\ufeff", "\u2060", " \n", "\n ", "\t ", " \t\n", "\r\n\r\n"]
CONTRACTIONS = ["'s", "'t", "'re", "'ve", "'m", "'ll", "'d", "'S", "'T", "'Re", "'VE", "'LL", "'\u017f", "\u2019s", "\u2019ll", "'", "''s", "'x", "'rest", "'lla", "'\u212a"]
PIECES = ["\u00e9", "e\u0301", "\u00df", "\u1e9e", "\u0130", "\u0131", "\ufb01", "\U0001f600", "\U0001f468\u200d\U0001f469\u200d\U0001f467", "\U0001f1eb\U0001f1f7", "\u2764\ufe0f",
          "\u4f60\u597d", "\u6771\u4eac", "\u3053\u3093\u306b\u3061\u306f", "\uc548\ub155", "\u0645\u0631\u062d\u0628\u0627", "\u05e9\u05dc\u05d5\u05dd", "\u0928\u092e\u0938\u094d\u0924\u0947", "\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35",
          "\u0661\u0662\u0663", "\u0967\u0968", "\u00b2", "\u00bd", "\u2167", "\u3007", "\U0001d7d8", "\u2460", "\u200f", "\u202e", "\u0600", "\ufffd", "\uffff", "\U0010ffff", "\ue000",
          "\U00020000", "\U0001f3fd", "\u20ac", "\u00a3", "\u2014", "\u2026", "\u201c", "\u201d"]
CODE = ["for (int i = 0; i < n; ++i) {\n    sum += a[i] * b[i];\n}", "def f(x, *args, **kw):\n\treturn x if x else None  # why?", "#include <vector>\n\n#define N 4096u",
        "SELECT * FROM t WHERE id != 'x' AND n >= 10;", "https://example.org/a/b?c=d&e=%20f#g", "{\"key\": [1, 2.5e-3, null, true]}", "a->b::c<d>&&e||!f", "C:\\Users\\me\\file.txt",
        "$ git commit -m \"it's done\" && make -j8", "<p class=\"x\">text&nbsp;here</p>", "x = 0xDEADBEEF ^ ~0b1010;", "\\frac{a}{b}^2_{i,j}", "user@mail.example, +44 (0)20 7946-0018",
        "0.1+0.2==0.30000000000000004", "let r#type: Vec<&'static str> = vec![];", "--flag=value -x -- ... ,;:!?"]
BLOCKS = [(0x00, 0x7f), (0x80, 0x24f), (0x250, 0x36f), (0x370, 0x52f), (0x530, 0x6ff), (0x900, 0xdff), (0xe00, 0x13ff), (0x1400, 0x1fff), (0x2000, 0x2bff),
          (0x2c00, 0x2fff), (0x3000, 0x30ff), (0x3400, 0x4dbf), (0x4e00, 0x9fff), (0xa000, 0xabff), (0xac00, 0xd7a3), (0xe000, 0xf8ff), (0xf900, 0xffff),
          (0x10000, 0x10fff), (0x11000, 0x12fff), (0x13000, 0x1afff), (0x1b000, 0x1d0ff), (0x1d100, 0x1d7ff), (0x1e000, 0x1efff), (0x1f000, 0x1faff),
          (0x20000, 0x2a6df), (0x30000, 0x3134a), (0xe0000, 0xe01ef), (0xf0000, 0xffffd), (0x100000, 0x10fffd)]
EOT = "<|endoftext|>"


def random_character(r, block):
    """An assigned or private-use character, so that newer Unicode versions agree on its category."""
    while True:
        c = chr(r.randint(*block))
        if unicodedata.category(c) not in ("Cn", "Cs"):
            return c


def strings(text, count):
    r = random.Random(20240607)
    sentences = [s.strip() for s in re.split(r"(?<=[.!?\"])\s+", text) if 2 < len(s) < 240]
    words = text.split()

    def span(longest=120):
        begin = r.randrange(len(text) - longest)
        return text[begin:begin + r.randint(1, longest)]

    def from_block():
        block = r.choice(BLOCKS)
        return "".join(random_character(r, block) for _ in range(r.randint(1, 12)))

    def from_all_blocks():
        return "".join(random_character(r, r.choice(BLOCKS)) for _ in range(r.randint(1, 14)))

    def mixed():
        parts = [r.choice((lambda: r.choice(words), lambda: r.choice(PIECES), lambda: r.choice(SPACES), lambda: r.choice(CONTRACTIONS),
                           lambda: str(r.randrange(10 ** r.randint(1, 8)))))() for _ in range(r.randint(2, 14))]
        return "".join(parts)

    def spaced():
        return "".join(r.choice(SPACES) + r.choice(("", "", r.choice(words), r.choice(".,;!?\"'()-"))) for _ in range(r.randint(1, 8)))

    def contraction():
        return " ".join(r.choice((w := r.choice(words), w.upper(), w.capitalize())) + r.choice(CONTRACTIONS) for _ in range(r.randint(1, 5)))

    def number():
        n = "".join(r.choice("0123456789") for _ in range(r.randint(1, 14)))
        return r.choice((n, f"{int(n):,}", f"-{n}.{n[::-1]}", f"{n}%", f"${n}.00", f"{n}th", f"x{n}y", f" {n} {n}", f"{n}e-{n[:2]}", n.translate(str.maketrans("0123456789", "\u0660\u0661\u0662\u0663\u0664\u0665\u0666\u0667\u0668\u0669"))))

    def code():
        s = r.choice(CODE)
        begin = r.randrange(len(s))
        return r.choice((s, s[begin:], s[:begin], s + "\n" + r.choice(CODE)))

    def run():
        return r.choice(list("aAeZ0.-=_*#!\"' \n\t") + PIECES[:8]) * r.choice((2, 3, 4, 5, 7, 8, 15, 16, 17, 31, 33, 64, 100)) + r.choice(("", "x", " end", "\n"))

    def special():
        s = r.choice((EOT, EOT, EOT, " " + EOT, EOT + " ", EOT * 2, EOT[:-1], EOT[1:], EOT.upper(), "<|endof text|>", EOT + "\n"))
        return r.choice(("", span(30), r.choice(words))) + s + r.choice(("", span(30), r.choice(words)))

    def changed_case():
        return r.choice((str.upper, str.lower, str.title, str.swapcase))(span(60))

    fixed = [""] + [chr(c) for c in range(0x100)] + SPACES + CONTRACTIONS + PIECES + CODE + sentences
    kinds = ((span, 18), (from_block, 18), (from_all_blocks, 10), (mixed, 16), (spaced, 10), (contraction, 6), (number, 8), (code, 4), (run, 4), (special, 4), (changed_case, 4))
    seen, out = set(), []
    functions = r.choices([k for k, _ in kinds], [w for _, w in kinds], k=3 * count)
    for s in fixed + [f() for f in functions]:
        if s not in seen and len(out) < count:
            seen.add(s)
            out.append(s)
    return out


def tokenizer_golden(demo, out, count=5000):
    tokenizer = Tokenizer.from_file(str(demo / "tokenizer.json"))
    lines = []
    for i, s in enumerate(strings((demo / "heldout.txt").read_text(), count)):
        special = i % 10 == 3
        row = {"text": s, "ids": tokenizer.encode(s, add_special_tokens=special).ids}
        if special:
            row["special"] = True
        lines.append(json.dumps(row, ensure_ascii=True, separators=(",", ":")))
    (out / "tokenizer_demo.jsonl").write_text("\n".join(lines) + "\n")


# ---- a tiny random Llama ------------------------------------------------------------------------------------------------

def tiny_llama():
    from transformers import LlamaConfig, LlamaForCausalLM
    config = LlamaConfig(vocab_size=131, hidden_size=60, intermediate_size=83, num_hidden_layers=3, num_attention_heads=6, num_key_value_heads=2,
                         head_dim=10, max_position_embeddings=64, rope_parameters={"rope_type": "default", "rope_theta": 5000.0}, rms_norm_eps=1e-5,
                         tie_word_embeddings=False, bos_token_id=1, eos_token_id=2)
    model = LlamaForCausalLM(config).eval()
    g = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for name, p in sorted(model.named_parameters()):
            noise = torch.randn(p.shape, generator=g)
            if p.dim() == 1:
                p.copy_(1 + 0.2 * noise)
            elif "embed_tokens" in name:
                p.copy_(noise)
            else:
                p.copy_(noise * (1.3 if "q_proj" in name or "k_proj" in name else 0.9) / p.shape[1] ** 0.5)
    return model


def logits_of(model, ids):
    with torch.no_grad():
        return model.double()(ids[None]).logits[0].float().contiguous()


def llama_goldens(out):
    ids = torch.randint(0, 131, (29,), generator=torch.Generator().manual_seed(11))
    model = tiny_llama()
    model.save_pretrained(out / "llama_tiny")
    model.save_pretrained(out / "llama_tiny_sharded", max_shard_size="200KB")
    shards = sorted((out / "llama_tiny_sharded").glob("*.safetensors"))
    if len(shards) != 2:
        sys.exit(f"make_goldens: {len(shards)} shards, 2 wanted")
    save_file({"input_ids": ids, "logits": logits_of(model, ids)}, str(out / "llama_tiny" / "expected.safetensors"))
    for folder in ("llama_tiny", "llama_tiny_sharded"):
        (out / folder / "generation_config.json").unlink(missing_ok=True)
    return ids


def compressed_tensors_golden(out, ids):
    """The tiny Llama in int-quantized format, compressed and saved by compressed-tensors itself; scales are amax / 127.5, so codes of -128 occur."""
    from compressed_tensors.compressors import ModelCompressor
    from compressed_tensors.quantization import QuantizationConfig, apply_quantization_config, preset_name_to_scheme
    from compressed_tensors.quantization.utils import calculate_qparams
    folder = out / "compressed_tensors_int8"
    model = tiny_llama()
    apply_quantization_config(model, QuantizationConfig(
        config_groups={"group_0": preset_name_to_scheme("W8A8", ["Linear"])}, ignore=["lm_head"]))
    with torch.no_grad():
        for module in model.modules():
            scheme = getattr(module, "quantization_scheme", None)
            if scheme is not None:
                low, high = module.weight.amin(1, keepdim=True), module.weight.amax(1, keepdim=True)
                scale, _ = calculate_qparams(low, high, scheme.weights)
                module.weight_scale.copy_(scale)
    compressor = ModelCompressor.from_pretrained_model(model)
    compressor.compress_model(model)
    state = {k: v.contiguous() for k, v in model.state_dict().items()}
    model.config.architectures, model.config.dtype = ["LlamaForCausalLM"], torch.float32
    model.config.save_pretrained(folder)
    save_file(state, str(folder / "model.safetensors"), metadata={"format": "pt"})
    compressor.update_config(str(folder))
    plain = tiny_llama()
    dequantised = {k: v for k, v in state.items() if not k.endswith("_scale")}
    for k, v in state.items():
        if v.dtype == torch.int8:
            dequantised[k] = v.float() * state[k + "_scale"].float()
    plain.load_state_dict(dequantised)
    save_file({"input_ids": ids, "logits_dequantized": logits_of(plain, ids)}, str(folder / "expected.safetensors"))
    codes = torch.cat([v.flatten() for v in state.values() if v.dtype == torch.int8])
    return int((codes == -128).sum()), codes.numel()


README = """# Goldens

Written by `tools/make_goldens.py` (do not edit by hand) with {versions}; characters are drawn from Unicode {unicode}.

| path | what |
|---|---|
| `tokenizer_demo.jsonl` | {strings} strings and their ids by the `tokenizers` package from `models/demo/tokenizer.json`; `"special": true` where special tokens were asked for (BOS comes first) |
| `llama_tiny/` | a random LlamaForCausalLM of transformers in fp32: 6 query / 2 KV heads of 10, hidden 60, FFN 83, vocabulary 131, untied, rope theta 5000. `expected.safetensors`: `input_ids` [29] int64, `logits` [29, 131] computed in fp64 (transformers' norms and rotary angles in fp32), stored in fp32 |
| `llama_tiny_sharded/` | the same weights in two shards with an index |
| `compressed_tensors_int8/` | the same model as an INT8 W8A8 `int-quantized` folder by `compressed-tensors` (`lm_head` ignored, scales amax / 127.5: {minus} of {codes} codes are -128). `expected.safetensors`: `logits_dequantized` with the dequantised weights and unquantised activations |

`config.json` here is as transformers 5 writes it: `rope_parameters.rope_theta` and `dtype`, where older files have `rope_theta` and `torch_dtype` (as `models/demo/config.json`).
"""


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--demo", type=Path, default=Path("models/demo"))
    p.add_argument("--out", type=Path, default=Path("tests/goldens"))
    a = p.parse_args()
    a.out.mkdir(parents=True, exist_ok=True)
    for folder in ("llama_tiny", "llama_tiny_sharded", "compressed_tensors_int8"):
        shutil.rmtree(a.out / folder, ignore_errors=True)
    torch.set_num_threads(1)
    tokenizer_golden(a.demo, a.out)
    ids = llama_goldens(a.out)
    minus, codes = compressed_tensors_golden(a.out, ids)
    from importlib.metadata import version
    versions = ", ".join(f"{n} {version(n)}" for n in ("tokenizers", "transformers", "torch", "safetensors", "compressed-tensors"))
    count = len((a.out / "tokenizer_demo.jsonl").read_text().splitlines())
    (a.out / "README.md").write_text(README.format(versions=versions, unicode=unicodedata.unidata_version, strings=f"{count:,}", minus=minus, codes=f"{codes:,}"))
    for f in sorted(a.out.rglob("*")):
        if f.is_file():
            f.chmod(0o644)
    logits = load_file(str(a.out / "llama_tiny" / "expected.safetensors"))["logits"]
    print(f"logits: standard deviation {logits.std():.2f}, largest {logits.abs().max():.2f}; {sum(f.stat().st_size for f in a.out.rglob('*') if f.is_file()) / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
