#!/usr/bin/env python3
"""Write tests/goldens/gguf/ with the real gguf, transformers and tokenizers packages, on a CPU.

    pip install torch transformers tokenizers safetensors gguf
    python3 tools/make_goldens_gguf.py [--out tests/goldens/gguf]

tiny.gguf is a random Llama in every tensor type that octavo reads, with a SentencePiece vocabulary; expected.safetensors has
its tensors as the gguf package dequantises them, under their Hugging Face names, and logits of transformers; tokenizer.jsonl
has texts and their ids by the tokenizers package, from the tokenizer that transformers itself makes of the file.
"""
import argparse
import json
from pathlib import Path

import gguf
import numpy as np
import torch
from gguf import GGMLQuantizationType as Type
from safetensors.torch import save_file

HIDDEN, FFN, LAYERS, HEADS, KV_HEADS, HEAD_DIM, THETA = 64, 96, 1, 4, 2, 16, 10000.0
WORDS = ["▁t", "he", "▁the", "▁a", "in", "er", "▁s", "on", "▁w", "re", "at", "nd", "▁and", "ll", "ou", "▁to", "ing", "é", "ö", "日", "本"]
# NOTE: none begins with a blank or holds a special token: there transformers' GGUF conversion departs from SentencePiece (and from
# llama.cpp), which put a blank in front of every text.
TEXTS = ["the sea", "", "two  blanks ", "Once upon a time and then the king", "naïve café 日本語 🙂", "a\nb\tc", "ing the and", "1234 + 5.6 = ?", "tttthhhheeee",
         "the ", "É", "x   y    z", "the\u2581the"]


def vocabulary():
    tokens = ["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256)]
    types = [2, 3, 3] + [6] * 256
    scores = [0.0] * 259
    singles = ["▁"] + [chr(c) for c in range(ord("a"), ord("z") + 1)]
    pieces = [w for w in WORDS if len(w) > 1] + singles + [w for w in WORDS if len(w) == 1]
    for i, piece in enumerate(pieces):
        tokens.append(piece)
        types.append(1)
        scores.append(-float(i))
    return tokens, types, scores


def permuted(w, heads):
    """The rows of Q and K as llama.cpp's converter stores them."""
    return w.reshape(heads, 2, w.shape[0] // heads // 2, *w.shape[1:]).swapaxes(1, 2).reshape(w.shape)


def tensors(vocab):
    r = np.random.default_rng(5)

    def matrix(n, k):
        return (r.standard_normal((n, k)) / k ** 0.5).astype(np.float32)

    def norm():
        return (1 + 0.2 * r.standard_normal(HIDDEN)).astype(np.float32)
    out = {"token_embd.weight": ("model.embed_tokens.weight", r.standard_normal((vocab, HIDDEN)).astype(np.float32), Type.BF16),
           "output.weight": ("lm_head.weight", matrix(vocab, HIDDEN), Type.Q8_0), "output_norm.weight": ("model.norm.weight", norm(), Type.F32)}
    for i in range(LAYERS):
        ours, theirs = f"model.layers.{i}.", f"blk.{i}."
        for name, hf, rows, columns, kind in (("attn_q", "self_attn.q_proj", HEADS * HEAD_DIM, HIDDEN, Type.Q8_0), ("attn_k", "self_attn.k_proj", KV_HEADS * HEAD_DIM, HIDDEN, Type.F16),
                                              ("attn_v", "self_attn.v_proj", KV_HEADS * HEAD_DIM, HIDDEN, Type.BF16), ("attn_output", "self_attn.o_proj", HIDDEN, HEADS * HEAD_DIM, Type.F32),
                                              ("ffn_gate", "mlp.gate_proj", FFN, HIDDEN, Type.Q8_0), ("ffn_up", "mlp.up_proj", FFN, HIDDEN, Type.F16), ("ffn_down", "mlp.down_proj", HIDDEN, FFN, Type.Q8_0)):
            out[f"{theirs}{name}.weight"] = (f"{ours}{hf}.weight", matrix(rows, columns), kind)
        out[f"{theirs}attn_norm.weight"] = (f"{ours}input_layernorm.weight", norm(), Type.F32)
        out[f"{theirs}ffn_norm.weight"] = (f"{ours}post_attention_layernorm.weight", norm(), Type.F32)
    return out


def write_gguf(path):
    tokens, types, scores = vocabulary()
    w = gguf.GGUFWriter(str(path), "llama")
    w.add_name("tiny")
    w.add_context_length(128)
    w.add_embedding_length(HIDDEN)
    w.add_block_count(LAYERS)
    w.add_feed_forward_length(FFN)
    w.add_head_count(HEADS)
    w.add_head_count_kv(KV_HEADS)
    w.add_layer_norm_rms_eps(1e-5)
    w.add_rope_freq_base(THETA)
    w.add_rope_dimension_count(HEAD_DIM)
    w.add_vocab_size(len(tokens))
    w.add_tokenizer_model("llama")
    w.add_tokenizer_pre("default")
    w.add_token_list(tokens)
    w.add_token_scores(scores)
    w.add_token_types(types)
    w.add_bos_token_id(1)
    w.add_eos_token_id(2)
    w.add_unk_token_id(0)
    dequantised = {}
    for name, (hf, values, kind) in tensors(len(tokens)).items():
        heads = HEADS if ".attn_q." in name else KV_HEADS if ".attn_k." in name else 0
        stored = gguf.quants.quantize(permuted(values, heads) if heads else values, kind)
        w.add_tensor(name, stored, raw_dtype=kind)
        back = np.asarray(gguf.quants.dequantize(stored, kind), dtype=np.float32).reshape(values.shape)
        if heads:  # row 2 i + j of a head belongs at row j * (rows / 2) + i
            back = back.reshape(heads, HEAD_DIM // 2, 2, *values.shape[1:]).swapaxes(1, 2).reshape(values.shape)
        dequantised[hf] = torch.from_numpy(back.copy())
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()
    return dequantised


def logits_of(dequantised, ids):
    from transformers import LlamaConfig, LlamaForCausalLM
    vocab = dequantised["lm_head.weight"].shape[0]
    model = LlamaForCausalLM(LlamaConfig(vocab_size=vocab, hidden_size=HIDDEN, intermediate_size=FFN, num_hidden_layers=LAYERS, num_attention_heads=HEADS,
                                         num_key_value_heads=KV_HEADS, head_dim=HEAD_DIM, max_position_embeddings=128, rms_norm_eps=1e-5,
                                         rope_parameters={"rope_type": "default", "rope_theta": THETA}, tie_word_embeddings=False)).eval()
    model.load_state_dict(dequantised)
    with torch.no_grad():
        return model.double()(ids[None]).logits[0].float().contiguous()


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--out", type=Path, default=Path("tests/goldens/gguf"))
    a = p.parse_args()
    a.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    dequantised = write_gguf(a.out / "tiny.gguf")
    ids = torch.randint(3, dequantised["lm_head.weight"].shape[0], (19,), generator=torch.Generator().manual_seed(3))
    logits = logits_of(dequantised, ids)

    # transformers reads the same file with a reader of its own: names, row order and rotary pairs agree, or nothing is written.
    from transformers import AutoModelForCausalLM, AutoTokenizer
    theirs = AutoModelForCausalLM.from_pretrained(str(a.out), gguf_file="tiny.gguf", dtype=torch.float32).eval()
    with torch.no_grad():
        difference = (theirs.double()(ids[None]).logits[0].float() - logits).abs().max() / logits.abs().max()
    assert difference < 1e-5, f"transformers' own GGUF reader differs by {difference}"
    tokenizer = AutoTokenizer.from_pretrained(str(a.out), gguf_file="tiny.gguf")
    rows = [{"text": t, "ids": tokenizer(t).input_ids} for t in TEXTS]

    keep = {k: v for k, v in dequantised.items() if "embed" not in k}
    save_file({**keep, "input_ids": ids, "logits": logits}, str(a.out / "expected.safetensors"))
    (a.out / "tokenizer.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    for f in a.out.iterdir():
        f.chmod(0o644)
    print(f"transformers' GGUF reader agrees to {difference:.1e}; {sum(f.stat().st_size for f in a.out.iterdir()) / 1e3:.0f} KB")


if __name__ == "__main__":
    main()
