#!/usr/bin/env python3
"""Train octavo's built-in model (models/demo) on public-domain books and write it as a Hugging Face folder.

    python3 tools/train_demo.py --text DIR --out models/demo --minutes 5

DIR holds children.txt.xz, prose.txt.xz (books, each ended by a line <|endoftext|>) and MANIFEST.json (their titles).
Steps: clean the text, train a byte-level BPE, train a small Llama (AdamW, warmup, constant rate on every book, then linear
decay with more of the children's books), store bf16 weights, check them with transformers, and write the model card.
Every number in the card comes from training.json, which the run writes; `--card-only` rewrites the card from it.
"""
import argparse
import json
import lzma
import math
import re
import shlex
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import tokenizers
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from torch import nn

EOT = "<|endoftext|>"  # beginning and end of every document, id 0
# Left out: two plays, and two books whose dialect and slurs nobody wants from a demo.
LEFT_OUT = {"An Ideal Husband", "The Importance of Being Earnest", "Adventures of Huckleberry Finn", "Uncle Tom's Cabin"}
# Held out for perplexity, about 2 % of the text.
HELD_OUT = {"The Story of Doctor Dolittle", "The Prince and the Pauper", "The Prisoner of Zenda", "Cranford", "A Christmas Carol"}
# In the children's list, but not in the decay phase: travel writing and satire for grown-ups.
NOT_SIMPLE = {"A Connecticut Yankee in King Arthur's Court", "Life on the Mississippi", "Roughing It", "The Innocents Abroad",
              "The Picture of Dorian Gray", "As Easy as A.B.C.", "With the Night Mail", "A Lady Of Quality"}


# ---- text ---------------------------------------------------------------------------------------------------------------

REPLACE = str.maketrans({"\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"', "\u2014": "--", "\u2013": "-", "\u2026": "...",
                         "\u00a0": " ", "\u200b": None, "\u2060": None, "\ufeff": None, "_": None, "*": None})
PLAIN = re.compile(r"[\x20-\x7e\n\u00a3\u00bd\u00c6\u00c9\u00e0\u00e2\u00e4\u00e6-\u00eb\u00ee\u00ef\u00f1\u00f4\u00f6\u00fb\u00fc\u0153]*")
NUMBER = r"(?:[IVXLC]+|\d+|(?:the )?(?:one|two|three|four|five|six|seven|eight|nine|ten|\w+(?:teen|ty)|first|second|third|last|\w+th))"
HEADING = re.compile(rf"(?i:(?:the )?(?:(?:chapter|part|book|letter|case|volume|stave|scene) +{NUMBER}|\w+ chapter)\b[^\"]{{0,90}}|introduction|conclusion)"
                     r"|[IVXLC]+(?:[.:]? *-+ *|[.:] +)[A-Z][^\"]{0,60}(?<![,;:!])|[IVXLC\d]+\.?")
NOISE = re.compile(r"(?i)gutenberg|https?:|transcriber|standard ebooks|all rights reserved|^(the end|finis|published \d+|contents|illustration)\b.{0,20}$"
                   r"|\.{5,}|\|")
SLUR = re.compile(r"(?i)nigg[aeu]r|\bdark(e?y|ies)\b|\binjuns?\b|\bsquaw|\bchinam[ae]n\b|\bpickaninn|\bcoons?\b")


def clean_book(raw):
    """One book -> a list of documents (chapters), paragraphs joined by blank lines."""
    documents, paragraphs = [], []
    for p in re.split(r"\n\s*\n", raw):
        footnote = p.lstrip().startswith("* ")
        p = re.sub(r"(?m)^\s*>+ ?|\[[^\]]{0,400}\]", "", p.translate(REPLACE))
        p = re.sub(r"-{3,}", "--", re.sub(r"[ \t]+", " ", p))
        p = "\n".join(line.strip() for line in p.split("\n")).strip()
        if HEADING.fullmatch(p) or (len(p) < 80 and p == p.upper() and re.search("[A-Z]{3}", p) and '"' not in p):
            documents.append(paragraphs)
            paragraphs = []
        elif not footnote and re.search("[A-Za-z]{2}", p) and PLAIN.fullmatch(p) and not NOISE.search(p) and not SLUR.search(p):
            paragraphs.append(p)
    documents.append(paragraphs)
    documents = ["\n\n".join(d) for d in documents]
    return [d for d in documents if len(d) >= 400]


def load_documents(folder):
    """-> {"simple": [...], "rest": [...], "held_children": [...], "held_prose": [...]}, documents in book order."""
    manifest = json.loads((folder / "MANIFEST.json").read_text())
    books = []
    for split in ("children", "prose"):
        text = lzma.open(folder / f"{split}.txt.xz", "rt", encoding="utf-8").read()
        books += [b for b in text.split(EOT + "\n") if b.strip()]
    if len(books) != len(manifest):
        sys.exit(f"train_demo: {len(books)} books in the text, {len(manifest)} in MANIFEST.json")
    documents = {"simple": [], "rest": [], "held_children": [], "held_prose": []}
    for entry, raw in zip(manifest, books):
        title = Path(entry["path"]).name.removesuffix(".md").strip()
        if title in LEFT_OUT:
            continue
        simple = entry["split"] == "children" and title not in NOT_SIMPLE
        name = f"held_{entry['split']}" if title in HELD_OUT else "simple" if simple else "rest"
        documents[name] += clean_book(raw)
    return documents


def train_tokenizer(documents, vocab_size):
    """Byte-level BPE with the pre-tokenizer pattern of Llama 3; <|endoftext|> is put first when special tokens are asked for."""
    pattern = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
               r"|\s*[\r\n]+|\s+(?!\S)|\s+")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(pattern), behavior="isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=vocab_size, special_tokens=[EOT], min_frequency=2, show_progress=False,
                                  initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()))
    tokenizer.train_from_iterator(documents, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{EOT} $A", pair=f"{EOT} $A {EOT}:1 $B:1", special_tokens=[(EOT, 0)])
    return tokenizer


def write_json(path, value):
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def prepare(folder, cache, vocab_size):
    """Clean, train the tokenizer and encode, or read all of it from the cache folder."""
    cache.mkdir(parents=True, exist_ok=True)
    if not (cache / "tokens.npz").exists():
        documents = load_documents(folder)
        tokenizer = train_tokenizer(documents["simple"] + documents["rest"], vocab_size)
        tokenizer.save(str(cache / "tokenizer.json"))
        tokens, size = {}, {}
        for name, docs in documents.items():
            rows = [np.asarray(e.ids, np.uint16) for e in tokenizer.encode_batch(docs)]
            tokens[name] = np.concatenate(rows + [np.zeros(1, np.uint16)])
            size[name] = sum(len(d.encode()) for d in docs)
        (cache / "held_children.txt").write_text("\n\n".join(documents["held_children"]) + "\n")
        np.savez_compressed(cache / "tokens.npz", **tokens)
        write_json(cache / "prepared.json", dict(bytes_in=size, tokenizers=tokenizers.__version__))
    prepared = json.loads((cache / "prepared.json").read_text())
    return Tokenizer.from_file(str(cache / "tokenizer.json")), dict(np.load(cache / "tokens.npz")), prepared


# ---- model --------------------------------------------------------------------------------------------------------------

@dataclass
class Shape:
    vocab: int = 4096
    hidden: int = 256
    layers: int = 8
    heads: int = 8
    kv_heads: int = 4
    ffn: int = 688
    context: int = 1024
    theta: float = 10000.0
    eps: float = 1e-5

    @property
    def head_dim(self):
        return self.hidden // self.heads


class Attention(nn.Module):
    def __init__(self, s):
        super().__init__()
        self.shape = s
        self.q_proj = nn.Linear(s.hidden, s.heads * s.head_dim, bias=False)
        self.k_proj = nn.Linear(s.hidden, s.kv_heads * s.head_dim, bias=False)
        self.v_proj = nn.Linear(s.hidden, s.kv_heads * s.head_dim, bias=False)
        self.o_proj = nn.Linear(s.heads * s.head_dim, s.hidden, bias=False)

    def forward(self, x, cos, sin):
        batch, length, _ = x.shape
        q, k, v = (p(x).view(batch, length, -1, self.shape.head_dim).transpose(1, 2) for p in (self.q_proj, self.k_proj, self.v_proj))
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        grouped = q.dtype != torch.float32  # NOTE: torch has no fused fp32 attention for grouped heads
        if not grouped:
            k, v = (t.repeat_interleave(self.shape.heads // self.shape.kv_heads, dim=1) for t in (k, v))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=grouped)
        return self.o_proj(y.transpose(1, 2).reshape(batch, length, -1))


def rotate(x, cos, sin):
    """Half-split rotary embedding, as Hugging Face Llama does it."""
    a, b = x.float().chunk(2, dim=-1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1).to(x.dtype)


class Mlp(nn.Module):
    def __init__(self, s):
        super().__init__()
        self.gate_proj = nn.Linear(s.hidden, s.ffn, bias=False)
        self.up_proj = nn.Linear(s.hidden, s.ffn, bias=False)
        self.down_proj = nn.Linear(s.ffn, s.hidden, bias=False)

    def forward(self, x):
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Block(nn.Module):
    def __init__(self, s, dropout):
        super().__init__()
        self.input_layernorm = nn.RMSNorm(s.hidden, eps=s.eps)
        self.self_attn = Attention(s)
        self.post_attention_layernorm = nn.RMSNorm(s.hidden, eps=s.eps)
        self.mlp = Mlp(s)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x, cos, sin):
        x = x + self.dropout(self.self_attn(self.input_layernorm(x), cos, sin))
        return x + self.dropout(self.mlp(self.post_attention_layernorm(x)))


class Llama(nn.Module):
    """Parameter names are those of Hugging Face without the leading `model.`; the output layer is the embedding."""

    def __init__(self, s, dropout=0.0):
        super().__init__()
        self.shape = s
        self.embed_tokens = nn.Embedding(s.vocab, s.hidden)
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.ModuleList(Block(s, dropout) for _ in range(s.layers))
        self.norm = nn.RMSNorm(s.hidden, eps=s.eps)
        angle = torch.outer(torch.arange(s.context).float(), s.theta ** (-torch.arange(0, s.head_dim, 2).float() / s.head_dim))
        self.register_buffer("cos", angle.cos(), persistent=False)
        self.register_buffer("sin", angle.sin(), persistent=False)
        for name, p in self.named_parameters():
            if p.dim() == 2:
                last = name.endswith(("o_proj.weight", "down_proj.weight"))
                nn.init.normal_(p, std=0.02 / math.sqrt(2 * s.layers) if last else 0.02)

    def forward(self, ids, targets):
        """Mean cross-entropy in nats of predicting targets."""
        x = self.dropout(self.embed_tokens(ids))
        cos, sin = self.cos[:ids.shape[1]], self.sin[:ids.shape[1]]
        for layer in self.layers:
            x = layer(x, cos, sin)
        logits = F.linear(self.norm(x), self.embed_tokens.weight)
        return F.cross_entropy(logits.float().flatten(0, 1), targets.flatten())


# ---- training -----------------------------------------------------------------------------------------------------------

DECAY_FROM = 0.7       # of the steps: constant rate before, linear decay to 0 after
SIMPLE_SHARE = 0.75    # of the rows in the decay phase come from the simpler children's books, the rest from everything
WARMUP = 200
WINDOWS = 48           # held-out windows per split while training; all of them at the end


@torch.no_grad()
def held_out_loss(model, ids, context, windows=None):
    """Nats per token over back-to-back windows of the held-out books."""
    model.eval()
    count = (len(ids) - 1) // context
    rows = torch.arange(count, device=ids.device)[:windows, None] * context + torch.arange(context + 1, device=ids.device)
    losses = [model(c[:, :-1], c[:, 1:]) * len(c) for c in ids[rows].split(16)]
    model.train()
    return float(sum(losses)) / len(rows)


def train(a, shape, tokens, device):
    gpu = device.type == "cuda"
    torch.manual_seed(a.seed)
    torch.set_float32_matmul_precision("high")
    data = {k: torch.from_numpy(v.astype(np.int32)).to(device).long() for k, v in tokens.items()}
    pool = torch.cat((data["simple"], data["rest"]))
    model = Llama(shape, a.dropout).to(device)
    matrices = [p for p in model.parameters() if p.dim() == 2]
    vectors = [p for p in model.parameters() if p.dim() == 1]
    optimizer = torch.optim.AdamW([{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}],
                                  lr=a.lr, betas=(0.9, 0.95), fused=gpu)
    step_model = torch.compile(model) if a.compile else model
    autocast = torch.autocast(device.type, torch.bfloat16)
    span = torch.arange(shape.context + 1, device=device)
    total, log, recent, begin, mark = a.steps, [], [], time.time(), None
    step = 0
    while total is None or step < total:
        done = 0.0 if total is None else step / total
        rate = a.lr * min(1.0, (step + 1) / WARMUP, (1 - done) / (1 - DECAY_FROM))
        simple = torch.rand(a.batch, device=device) < (SIMPLE_SHARE if done >= DECAY_FROM else 0.0)
        limit = torch.where(simple, len(data["simple"]), len(pool))
        start = (torch.rand(a.batch, device=device, dtype=torch.float64) * (limit - shape.context - 1)).long()
        rows = pool[start[:, None] + span]
        with autocast:
            loss = step_model(rows[:, :-1], rows[:, 1:])
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        recent.append(loss.detach())
        step += 1
        if total is None and step in (a.calibrate, 2 * a.calibrate):  # after compiling: how many steps fit the minutes given
            now = time.time() if not gpu else (torch.cuda.synchronize(), time.time())[1]
            if mark is not None:
                seconds = (now - mark) / a.calibrate
                total = step + max(1, int((a.minutes * 60 - (now - begin)) * 0.97 / seconds))
                total = min(total, a.max_tokens // (a.batch * shape.context))
                print(f"{seconds * 1e3:.1f} ms a step, {a.batch * shape.context / seconds / 1e6:.2f} M tokens/s, {total} steps", flush=True)
            mark = now
        if total is not None and (step % max(1, total // 40) == 0 or step == total):
            with autocast:
                held = [held_out_loss(model, data[k], shape.context, WINDOWS) for k in ("held_children", "held_prose")]
            log.append([step, step * a.batch * shape.context, float(torch.stack(recent).mean()), *held])
            recent.clear()
            print("step {} tokens {:.0f}M train {:.3f} held-out children {:.3f} prose {:.3f} {:.0f} s".format(
                step, log[-1][1] / 1e6, *log[-1][2:], time.time() - begin), flush=True)
    seconds = time.time() - begin
    model.load_state_dict({k: v.bfloat16().float() for k, v in model.state_dict().items()})  # as stored
    torch.set_float32_matmul_precision("highest")
    final = {k: held_out_loss(model, data[k], shape.context) for k in ("held_children", "held_prose")}
    print("held-out perplexity", {k: round(math.exp(v), 3) for k, v in final.items()}, flush=True)
    return model, dict(steps=step, tokens=step * a.batch * shape.context, seconds=seconds, log=log, final=final)


# ---- files --------------------------------------------------------------------------------------------------------------

GENERATION = dict(do_sample=True, temperature=0.7, top_p=0.9, top_k=0, repetition_penalty=1.1)
PROMPTS = ["Once upon a time", "The old house", "One morning in spring", "\"I am not afraid,\" said the boy"]


def write_folder(out, model, tokenizer, cache):
    s = model.shape
    out.mkdir(parents=True, exist_ok=True)
    tensors = {f"model.{k}": v.to("cpu", torch.bfloat16).contiguous() for k, v in model.state_dict().items()}
    save_file(tensors, str(out / "model.safetensors"), metadata={"format": "pt"})
    (out / "model.safetensors").chmod(0o644)
    write_json(out / "config.json", dict(
        architectures=["LlamaForCausalLM"], model_type="llama", vocab_size=s.vocab, hidden_size=s.hidden, intermediate_size=s.ffn,
        num_hidden_layers=s.layers, num_attention_heads=s.heads, num_key_value_heads=s.kv_heads, head_dim=s.head_dim, hidden_act="silu",
        max_position_embeddings=s.context, rms_norm_eps=s.eps, rope_theta=s.theta, rope_scaling=None, attention_bias=False,
        mlp_bias=False, attention_dropout=0.0, tie_word_embeddings=True, bos_token_id=0, eos_token_id=0, initializer_range=0.02,
        use_cache=True, torch_dtype="bfloat16"))
    tokenizer.save(str(out / "tokenizer.json"))
    write_json(out / "tokenizer_config.json", dict(
        tokenizer_class="PreTrainedTokenizerFast", bos_token=EOT, eos_token=EOT, model_max_length=s.context,
        clean_up_tokenization_spaces=False))
    held = (cache / "held_children.txt").read_text()
    (out / "heldout.txt").write_text(held[:held.find("\n\n", 24000)] + "\n")  # for measuring accuracy against the unquantised model


def write_generation(out):
    write_json(out / "generation_config.json", dict(bos_token_id=0, eos_token_id=0, **GENERATION))


def sample(out, new_tokens=160):
    """Generate with transformers, so that the folder is read by someone else's code."""
    from transformers import AutoModelForCausalLM, AutoTokenizer
    tokenizer = AutoTokenizer.from_pretrained(out)
    model = AutoModelForCausalLM.from_pretrained(out, dtype=torch.float32).eval()
    texts = []
    for seed, prompt in enumerate(PROMPTS):
        torch.manual_seed(seed)
        ids = tokenizer(prompt, return_tensors="pt").input_ids
        result = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=new_tokens, pad_token_id=0, **GENERATION)
        texts.append(tokenizer.decode(result[0], skip_special_tokens=True))
    return texts


def curve_svg(log, decay_tokens):
    """Loss against tokens seen, as a small SVG."""
    width, height, left, top, right, bottom = 640, 320, 50, 15, 15, 40
    x_max = log[-1][1]
    values = [v for row in log for v in row[2:]]
    low, high = math.floor(min(values) * 10) / 10, min(5.0, math.ceil(max(values) * 10) / 10)
    high = max(high, low + 0.5)

    def x(t):
        return left + (width - left - right) * t / x_max

    def y(v):
        return top + (height - top - bottom) * (high - min(v, high)) / (high - low)

    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="11">',
             f'<rect width="{width}" height="{height}" fill="white"/>',
             f'<rect x="{x(decay_tokens):.1f}" y="{top}" width="{x(x_max) - x(decay_tokens):.1f}" height="{height - top - bottom}" fill="#eef"/>']
    for i in range(6):
        v, t = low + (high - low) * i / 5, x_max * i / 5
        parts.append(f'<line x1="{left}" x2="{width - right}" y1="{y(v):.1f}" y2="{y(v):.1f}" stroke="#ddd"/>'
                     f'<text x="{left - 6}" y="{y(v) + 4:.1f}" text-anchor="end">{v:.2f}</text>'
                     f'<text x="{x(t):.1f}" y="{height - bottom + 16}" text-anchor="middle">{t / 1e6:.0f}M</text>')
    for i, (name, colour) in enumerate((("train (with dropout)", "#888"), ("held-out children's", "#06c"), ("held-out prose", "#c40"))):
        points = " ".join(f"{x(row[1]):.1f},{y(row[2 + i]):.1f}" for row in log)
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.5"/>'
                     f'<text x="{width - right - 150}" y="{top + 16 + 15 * i}" fill="{colour}">{name}</text>')
    parts.append(f'<text x="{(left + width) / 2}" y="{height - 8}" text-anchor="middle">tokens seen; loss in nats a token; shaded: learning-rate decay</text></svg>')
    return "\n".join(parts) + "\n"


def model_card(r, texts):
    s, n, byte_count = Shape(**r["shape"]), r["tokens_in"], r["bytes_in"]
    rows = "\n".join(f"| {row[0]} | {row[1] / 1e6:.0f} M | {row[2]:.3f} | {row[3]:.3f} | {row[4]:.3f} |"
                     for row in r["log"] if row is r["log"][-1] or r["log"].index(row) % 4 == 3)
    held = "\n".join(
        f"| {label} | {n[k]:,} | {math.exp(r['final'][k]):.2f} | {r['final'][k] / math.log(2) * n[k] / byte_count[k]:.3f} |"
        for k, label in (("held_children", "children's"), ("held_prose", "grown-ups'")))
    runs = "\n".join(
        f"| {label} | {x['tokens'] / 1e6:.0f} M | {x['lr']:g} | {x['dropout']:g} | {1 - x['decay_from']:.0%} | {x['simple_share']:.0%} | "
        f"{math.exp(x['final']['held_children']):.1f} | {math.exp(x['final']['held_prose']):.1f} |"
        for label, x in [("this one", r)] + [("not chosen", x) for x in r.get("other_runs", [])])
    quoted = "\n\n".join("> " + t.strip().replace("\n", "\n> ") + " [...]" for t in texts)
    return f"""# octavo's built-in model

A Llama of {r['parameters'] / 1e6:.2f} M parameters that continues English prose in the manner of its books, 1719 to 1928. It is here so that
`octavo generate` and `./dev demo` have a real model to quantise and run; it is stored in bf16 and quantised while loading, like anyone's model.
`tools/train_demo.py` made it and wrote this page; the raw numbers are in `training.json`.

| | |
|---|---|
| shape | {s.layers} layers, hidden {s.hidden}, {s.heads} query / {s.kv_heads} KV heads of {s.head_dim}, FFN {s.ffn}, context {s.context}, tied embedding |
| tokenizer | byte-level BPE of our own, vocabulary {s.vocab}, pre-tokenizer pattern of Llama 3; `{EOT}` (id 0) begins and ends a text |
| data | {n['simple'] + n['rest']:,} training tokens ({(byte_count['simple'] + byte_count['rest']) / 1e6:.1f} MB after cleaning); {n['held_children'] + n['held_prose']:,} held out |
| trained on | {r['tokens'] / 1e6:.0f} M tokens = {r['tokens'] / (n['simple'] + n['rest']):.0f} passes; {r['steps']} steps of {r['batch']} x {s.context} tokens |
| recipe | AdamW (0.9, 0.95), rate {r['lr']:g}, weight decay 0.1, clip 1, dropout {r['dropout']:g}, bf16 autocast; warmup {WARMUP} steps; the last {1 - r['decay_from']:.0%} decays to 0 with {r['simple_share']:.0%} of the rows from the simpler children's books, the others from everything |
| machine, time | {r['gpu']}, {r['seconds'] / 60:.1f} minutes of training |
| versions | {', '.join(f'{k} {v}' for k, v in r['versions'].items())} |
| command | `{r['command']}`; the cache folder already held the cleaned text and the tokenizer, made by the same script from `--text` |

## Data and licence

Books from [mlschmitt/classic-books-markdown](https://github.com/mlschmitt/classic-books-markdown): originally English, published up to 1928,
in the public domain in the United States. Cleaning removes headings, emphasis marks, footnotes and tables, straightens quotes, makes each chapter a document, and drops
paragraphs with racial slurs; left out whole: {', '.join(sorted(LEFT_OUT))}. The weights are ours, under the licence of this repository.

## Held-out books

Whole books that training never saw: {', '.join(sorted(HELD_OUT))}. The stored bf16 weights in fp32 arithmetic, windows of {s.context} tokens back to back.

| books | tokens | perplexity | bits a byte |
|---|---|---|---|
{held}

`heldout.txt` is the beginning of *The Story of Doctor Dolittle* (1920), to measure accuracy on.

## Loss

![loss curve](loss.svg)

| step | tokens | train (with dropout) | held-out children's | held-out prose |
|---|---|---|---|---|
{rows}

(nats a token; while training, over the first {WINDOWS} held-out windows of each split, in bf16)

The decay phase lowers the loss on what it trains on and raises it a little on held-out books: the model settles on the voice of
the children's books. That is the point: to our reading it writes better, and
greedy decoding loops later. All runs but a half-minute check, with their held-out perplexities:

| run | tokens | rate | dropout | decay phase | simpler books in it | children's | grown-ups' |
|---|---|---|---|---|---|---|---|
{runs}

## Limits

It keeps grammar for some sentences and a story for none: names drift, facts are invented, nothing it says is true. It knows no instructions, no
dialogue turns, no language but the English of these books, and shares the views of their time. Beyond {s.context} tokens it is untrained.

## Samples

First draws (seeds 0 to {len(texts) - 1}, none thrown away), made by transformers with `generation_config.json`; the prompts are {', '.join('`' + p + '`' for p in PROMPTS)}.

{quoted}
"""


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--text", type=Path, help="folder with children.txt.xz, prose.txt.xz, MANIFEST.json")
    p.add_argument("--out", type=Path, default=Path("models/demo"))
    p.add_argument("--cache", type=Path, default=Path("/tmp/octavo-train-demo"), help="tokenizer and tokens are kept here")
    p.add_argument("--minutes", type=float, default=5.0, help="wall-clock limit of the training loop")
    p.add_argument("--steps", type=int, help="a fixed number of steps instead of --minutes")
    p.add_argument("--max-tokens", type=int, default=600_000_000)
    p.add_argument("--calibrate", type=int, default=60, help="steps timed to plan for --minutes")
    p.add_argument("--batch", type=int, default=64, help="rows of one context length a step")
    p.add_argument("--layers", type=int, default=Shape.layers)
    p.add_argument("--context", type=int, default=Shape.context)
    p.add_argument("--lr", type=float, default=2e-3)
    p.add_argument("--dropout", type=float, default=0.1)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--no-compile", dest="compile", action="store_false")
    p.add_argument("--other-runs", type=Path, nargs="*", default=[], help="training.json of runs not chosen, for the card")
    p.add_argument("--no-card", action="store_true", help="stop after the weights; --card-only writes the card later")
    p.add_argument("--card-only", action="store_true", help="rewrite generation_config.json and the card from training.json")
    a = p.parse_args()
    if not a.card_only:
        begin = time.time()
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        shape = Shape(layers=a.layers, context=a.context)
        tokenizer, tokens, prepared = prepare(a.text, a.cache, shape.vocab)
        print(f"prepared in {time.time() - begin:.0f} s:", {k: len(v) for k, v in tokens.items()}, prepared, flush=True)
        model, result = train(a, shape, tokens, device)
        write_folder(a.out, model, tokenizer, a.cache)
        write_json(a.out / "training.json", dict(
            shape=asdict(shape), parameters=sum(p.numel() for p in model.parameters()), batch=a.batch, lr=a.lr, dropout=a.dropout, seed=a.seed,
            decay_from=DECAY_FROM, simple_share=SIMPLE_SHARE, tokens_in={k: len(v) for k, v in tokens.items()}, bytes_in=prepared["bytes_in"],
            gpu=torch.cuda.get_device_name() if device.type == "cuda" else "CPU", command=shlex.join(["python3", *sys.argv]),
            versions=dict(torch=torch.__version__, tokenizers=prepared["tokenizers"]), **result))
    if a.no_card:
        return
    write_generation(a.out)
    r = json.loads((a.out / "training.json").read_text())
    if a.other_runs:
        r["other_runs"] = [{k: v for k, v in json.loads(f.read_text()).items() if k not in ("log", "shape")} for f in a.other_runs]
        write_json(a.out / "training.json", r)
    (a.out / "loss.svg").write_text(curve_svg(r["log"], r["tokens"] * r["decay_from"]))
    (a.out / "README.md").write_text(model_card(r, sample(a.out)))
    print((a.out / "README.md").read_text(), flush=True)


if __name__ == "__main__":
    main()
