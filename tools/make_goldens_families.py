#!/usr/bin/env python3
"""Write tests/goldens/families/: a tiny random model of every family, made and run by transformers, on a CPU.

    pip install torch transformers safetensors
    python3 tools/make_goldens_families.py [--out tests/goldens/families]

Same packages, same bytes: every random choice is seeded. Weights are rounded to bf16 (fp16 for some) and stored so; logits are
computed from the rounded weights in fp64 (transformers keeps rotary angles and some norms in fp32). Sizes are odd on purpose.
"""
import argparse
import math
import shutil
from pathlib import Path

import torch
import transformers as hf
from safetensors.torch import load_file, save_file

VOCAB, LENGTH = 97, 29
ROPE = {"rope_type": "default", "rope_theta": 5000.0}


def fill(model, dtype, seed):
    """Weights that keep signals near 1, so that errors show; rounded to dtype."""
    g = torch.Generator().manual_seed(seed)
    conv = {id(m.weight) for m in model.modules() if type(m).__name__ == "Conv1D"}
    with torch.no_grad():
        for name, p in sorted(model.named_parameters()):
            noise = torch.randn(p.shape, generator=g)
            if name.endswith("bias"):
                p.copy_(0.3 * noise)
            elif p.dim() == 1:
                p.copy_(1 + 0.2 * noise)
            elif "embed" in name or name.endswith(("wte.weight", "wpe.weight")):
                p.copy_(noise * (0.5 if "position" in name or "token_type" in name or "wpe" in name else 1.0))
            else:
                fan_in = p.shape[0] if id(p) in conv else p.shape[1]
                gain = 1.3 if any(k in name for k in ("q_proj", "k_proj", "query", "key", "qkv", "c_attn")) else 0.9
                p.copy_(noise * gain / math.sqrt(fan_in))
            p.copy_(p.to(dtype).to(p.dtype))
    return model.eval()


def make(config, cls, dtype=torch.bfloat16, seed=3):
    config._attn_implementation = "eager"
    return fill(cls(config), dtype, seed)


def save_model(model, folder, dtype=torch.bfloat16, rename=lambda name: name, extra=None):
    """config.json as transformers writes it, weights under `rename`d names (tied ones once)."""
    folder.mkdir(parents=True, exist_ok=True)
    model.config.architectures, model.config.dtype = [type(model).__name__], dtype
    model.config.save_pretrained(folder)
    tied = set(getattr(model, "_tied_weights_keys", None) or []) if model.config.tie_word_embeddings else set()
    state = {rename(k): v.to(dtype).contiguous() for k, v in model.state_dict().items() if k not in tied}
    save_file({**state, **(extra or {})}, str(folder / "model.safetensors"), metadata={"format": "pt"})


def logits_of(model, ids, step):
    """Logits of every position, `step` tokens a call through transformers' own cache."""
    model = model.double()
    cache, rows = hf.DynamicCache(config=model.config), []
    with torch.no_grad():
        for at in range(0, len(ids), step):
            rows.append(model(ids[None, at:at + step], past_key_values=cache, use_cache=True).logits[0])
    return torch.cat(rows).float().contiguous()


def decoder(out, model, dtype=torch.bfloat16, by_length=False, name="expected", **saving):
    ids = torch.randint(0, VOCAB, (LENGTH,), generator=torch.Generator().manual_seed(11))
    if saving.pop("weights", True):
        save_model(model, out, dtype, **saving)
    expected = {"input_ids": ids, "logits": logits_of(model, ids, LENGTH)}
    if by_length:  # frequencies change with the length of the sequence: so do logits with the size of the steps
        expected |= {"logits_steps_of_1": logits_of(model, ids, 1), "logits_steps_of_3": logits_of(model, ids, 3)}
    save_file(expected, str(out / f"{name}.safetensors"))


def decoders(out):
    sizes = dict(vocab_size=VOCAB, hidden_size=44, intermediate_size=59, num_hidden_layers=3, num_attention_heads=6, num_key_value_heads=2,
                 max_position_embeddings=64, bos_token_id=1, eos_token_id=2, pad_token_id=None)
    decoder(out / "mistral", make(hf.MistralConfig(**sizes, head_dim=10, rope_parameters=ROPE, sliding_window=7), hf.MistralForCausalLM))
    sizes["hidden_size"] = 48
    decoder(out / "qwen2", make(hf.Qwen2Config(**sizes, rope_parameters=ROPE, tie_word_embeddings=True, use_sliding_window=True, sliding_window=5,
                                               max_window_layers=1), hf.Qwen2ForCausalLM))
    decoder(out / "qwen3", make(hf.Qwen3Config(**sizes, head_dim=14, rope_parameters=ROPE), hf.Qwen3ForCausalLM), torch.float16)
    phi = dict(sizes, num_hidden_layers=2)
    decoder(out / "phi3", make(hf.Phi3Config(**phi, rope_parameters={**ROPE, "partial_rotary_factor": 0.75}, sliding_window=9), hf.Phi3ForCausalLM))
    long = {"rope_type": "longrope", "rope_theta": 5000.0, "short_factor": [1.0, 1.1, 1.3, 1.6], "long_factor": [1.0, 1.7, 2.9, 4.0]}
    decoder(out / "phi3_longrope", make(hf.Phi3Config(**phi, original_max_position_embeddings=16, rope_parameters=long), hf.Phi3ForCausalLM), by_length=True)

    scalings = {
        "llama3": {"factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 32},
        "linear": {"factor": 2.5},
        "dynamic": {"factor": 4.0},
        "yarn": {"factor": 4.0, "original_max_position_embeddings": 16, "beta_fast": 4.0},
    }
    for kind, values in scalings.items():
        config = hf.LlamaConfig(**dict(sizes, num_hidden_layers=2, max_position_embeddings=16 if kind == "dynamic" else 64), attention_bias=True,
                                mlp_bias=True, rope_parameters={"rope_type": kind, "rope_theta": 5000.0, **values})
        model = make(config, hf.LlamaForCausalLM)
        folder = out / "llama_rope"  # the weights are the same for all
        decoder(folder, model, by_length=kind == "dynamic", name=f"expected_{kind}", weights=kind == "llama3")
        model.config.architectures, model.config.dtype = ["LlamaForCausalLM"], torch.bfloat16
        (folder / "config.json").unlink(missing_ok=True)
        model.config.save_pretrained(folder)
        (folder / "config.json").rename(folder / f"config_{kind}.json")

    gpt2 = dict(vocab_size=VOCAB, n_positions=64, n_embd=44, n_layer=2, n_head=4, bos_token_id=1, eos_token_id=2)
    decoder(out / "gpt2", make(hf.GPT2Config(**gpt2, n_inner=59), hf.GPT2LMHeadModel))
    # As the first files have it: no prefix, and the causal mask among the tensors.
    mask = {f"h.{i}.attn.bias": torch.ones(1, 1, 8, 8) for i in range(2)}
    decoder(out / "gpt2_old", make(hf.GPT2Config(**gpt2), hf.GPT2LMHeadModel, torch.float16), torch.float16,
            rename=lambda k: k.removeprefix("transformer."), extra=mask)
    neox = dict(vocab_size=VOCAB, hidden_size=48, intermediate_size=59, num_hidden_layers=2, num_attention_heads=3, max_position_embeddings=64,
                bos_token_id=1, eos_token_id=2, rope_parameters={**ROPE, "partial_rotary_factor": 0.375})
    # Published files call the head embed_out; transformers 5 calls it lm_head in memory.
    decoder(out / "gpt_neox", make(hf.GPTNeoXConfig(**neox), hf.GPTNeoXForCausalLM), rename=lambda k: k.replace("lm_head", "embed_out"))
    decoder(out / "gpt_neox_sequential", make(hf.GPTNeoXConfig(**neox, use_parallel_residual=False, hidden_act="gelu_new"), hf.GPTNeoXForCausalLM))


def encoders(out):
    config = dict(vocab_size=VOCAB, hidden_size=44, num_hidden_layers=3, num_attention_heads=4, intermediate_size=59, max_position_embeddings=40,
                  type_vocab_size=2)
    gammas = lambda k: k.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")
    for name, cls, rename in (("bert", hf.BertForMaskedLM, lambda k: k), ("bert_old", hf.BertModel, gammas)):
        model = make(hf.BertConfig(**config), cls)
        save_model(model, out / name, rename=rename)
        g = torch.Generator().manual_seed(17)
        lengths, expected = [LENGTH, 1, 13, 40], {}
        ids = [torch.randint(0, VOCAB, (n,), generator=g) for n in lengths]
        types = [torch.cat([torch.zeros(n // 2, dtype=torch.int64), torch.ones(n - n // 2, dtype=torch.int64)]) for n in lengths]
        types[2].zero_()
        encoder = (model.bert if name == "bert" else model).double()
        with torch.no_grad():
            hidden = [encoder(i[None], token_type_ids=t[None]).last_hidden_state[0] for i, t in zip(ids, types)]
        pooled = torch.nn.functional.normalize(torch.stack([h.mean(0) for h in hidden]))
        expected = {"input_ids": torch.cat(ids), "token_types": torch.cat(types), "lengths": torch.tensor(lengths),
                    "hidden": torch.cat(hidden).float().contiguous(), "embeddings": pooled.float().contiguous()}
        tokenizer = word_pieces()
        tokenizer.save(str(out / name / "tokenizer.json"))
        with torch.no_grad():
            of_texts = [encoder(torch.tensor([tokenizer.encode(t).ids])).last_hidden_state[0] for t in TEXTS]
        for pooling, rows in (("mean", [h.mean(0) for h in of_texts]), ("cls", [h[0] for h in of_texts])):
            expected[f"texts_{pooling}"] = torch.nn.functional.normalize(torch.stack(rows)).float().contiguous()
        save_file(expected, str(out / name / "expected.safetensors"))


TEXTS = ["Hello, world!", "", "a cafe", "octavo makes vectors of texts: 0123456789"]  # as in tests/embed_test.cpp


def word_pieces():
    """A WordPiece tokenizer of letters and digits, as BERT's uncased ones are made: 97 tokens with what fills up."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
    letters = "abcdefghijklmnopqrstuvwxyz0123456789"
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *letters, *(f"##{c}" for c in letters), *",.:!?'-", "the", "##ing", "##s", "text", "vector", "a1"]
    tokens = list(dict.fromkeys(tokens))
    tokens += [f"[unused{i}]" for i in range(VOCAB - len(tokens))]
    t = Tokenizer(models.WordPiece({token: i for i, token in enumerate(tokens)}, unk_token="[UNK]"))
    t.normalizer, t.pre_tokenizer = normalizers.BertNormalizer(lowercase=True), pre_tokenizers.BertPreTokenizer()
    t.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    t.decoder = decoders.WordPiece()
    t.add_special_tokens(tokens[:4])
    return t


README = """# A tiny model of every family

Written by `tools/make_goldens_families.py` (do not edit by hand) with transformers {transformers}, torch {torch}, safetensors {safetensors}.
Weights are random, bf16 or fp16; `expected.safetensors` holds `input_ids` and what transformers computes from them in fp64, stored in fp32:
`logits` of every position (where frequencies depend on the length, also for steps of 1 and 3 tokens through transformers' cache), or the
last `hidden` states and the normalised means of the encoders. `llama_rope` holds one set of weights, a config and logits for each scaling.

| folder | what it holds besides the family |
|---|---|
| `mistral` | a window of 7 keys, heads wider than hidden / heads |
| `qwen2` | biases on q, k, v; tied embeddings; a window in layers 1 and 2 only |
| `qwen3` | norms of query and key heads; fp16 |
| `phi3`, `phi3_longrope` | fused qkv and gate-up, a partial rotation, a window; longrope that crosses its training length |
| `llama_rope` | llama3, linear, dynamic (beyond its training length), yarn; biases everywhere |
| `gpt2`, `gpt2_old` | the names of today; the first files' names without prefix, with masks, fp16 |
| `gpt_neox`, `gpt_neox_sequential` | parallel residual, erf GELU, the head's published name; the sequential one, tanh GELU, `lm_head` |
| `bert`, `bert_old` | a masked language model, whose head is not needed; a bare encoder with gamma and beta |
"""


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--out", type=Path, default=Path("tests/goldens/families"))
    out = p.parse_args().out
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    torch.set_num_threads(1)
    decoders(out)
    encoders(out)
    from importlib.metadata import version
    (out / "README.md").write_text(README.format(**{n: version(n) for n in ("transformers", "torch", "safetensors")}))
    for f in sorted(out.rglob("*")):
        if f.name == "generation_config.json":
            f.unlink()
        elif f.is_file():
            f.chmod(0o644)
    for f in sorted(out.rglob("expected*")):
        values = load_file(str(f))
        values = values.get("logits", values.get("hidden"))
        print(f"{f.relative_to(out)}: standard deviation {values.std():.2f}, largest {values.abs().max():.2f}")
    print(f"{sum(f.stat().st_size for f in out.rglob('*') if f.is_file()) / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
