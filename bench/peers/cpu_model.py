#!/usr/bin/env python3
"""llama.cpp beside octavo on the CPU: decode and prefill of the 1B-shaped random model of bench/model_bench.cpp, as Q8_0 GGUF.

Rounds alternate: one of model_bench, one of llama.cpp, each with the machine to itself; the best round counts. The rows of
llama.cpp go into the file that model_bench writes. Needs the packages gguf and llama-cpp-python, the latter built for this
machine (CMAKE_ARGS=-DGGML_NATIVE=ON pip install --no-binary :all: llama-cpp-python).

usage: cpu_model.py --octavo build/cpu/bench/model_bench --gguf FILE [--rounds 5] [--threads 2] [--out bench/results/cpu]
       FILE is written where it is missing (1.3 GB).
"""
import argparse
import ctypes
import json
import subprocess
import tempfile
import time
from pathlib import Path

import gguf
import llama_cpp
import numpy as np

HIDDEN, FFN, LAYERS, HEADS, KV_HEADS, HEAD_DIM, VOCAB = 2048, 8192, 16, 32, 8, 64, 128256
PROMPT, DEPTH, STEPS = 512, 64, 48  # tokens of the prompt; tokens in the cache before a decode is timed; decodes in a round


def q8_0(rng, rows, width):
    """Random blocks of 32 codes with their scale in fp16, values of about 0.02."""
    blocks = np.empty((rows, width // 32, 34), np.uint8)
    blocks[..., :2] = np.float16(0.02 / 40).reshape(1).view(np.uint8)
    blocks[..., 2:] = rng.integers(-127, 128, (rows, width // 32, 32), np.int8).view(np.uint8)
    return blocks.reshape(rows, -1)


def write_model(path):
    rng = np.random.default_rng(1)
    writer = gguf.GGUFWriter(str(path), "llama", use_temp_file=False)
    writer.add_context_length(131072)
    writer.add_embedding_length(HIDDEN)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(FFN)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_key_length(HEAD_DIM)
    writer.add_value_length(HEAD_DIM)
    writer.add_rope_dimension_count(HEAD_DIM)
    writer.add_rope_freq_base(500000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(VOCAB)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    writer.add_tokenizer_model("no_vocab")

    def weight(name, rows, width):
        writer.add_tensor(name + ".weight", q8_0(rng, rows, width), raw_dtype=gguf.GGMLQuantizationType.Q8_0)

    def norm(name):
        writer.add_tensor(name + ".weight", np.ones(HIDDEN, np.float32))

    weight("token_embd", VOCAB, HIDDEN)  # also the output matrix, as there is no other
    for i in range(LAYERS):
        block = f"blk.{i}."
        norm(block + "attn_norm"), norm(block + "ffn_norm")
        weight(block + "attn_q", HEADS * HEAD_DIM, HIDDEN)
        weight(block + "attn_k", KV_HEADS * HEAD_DIM, HIDDEN)
        weight(block + "attn_v", KV_HEADS * HEAD_DIM, HIDDEN)
        weight(block + "attn_output", HIDDEN, HEADS * HEAD_DIM)
        weight(block + "ffn_gate", FFN, HIDDEN)
        weight(block + "ffn_up", FFN, HIDDEN)
        weight(block + "ffn_down", HIDDEN, FFN)
    norm("output_norm")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


class LlamaCpp:
    def __init__(self, path, threads):
        llama_cpp.llama_backend_init()
        model = llama_cpp.llama_model_default_params()
        model.n_gpu_layers, model.use_mmap = 0, False  # weights in plain memory, as octavo's
        self.model = llama_cpp.llama_model_load_from_file(str(path).encode(), model)
        if not self.model:
            raise SystemExit(f"cpu_model.py: llama.cpp does not load {path}")
        context = llama_cpp.llama_context_default_params()
        context.n_ctx, context.n_batch, context.n_ubatch = 2048, PROMPT, PROMPT
        context.n_threads = context.n_threads_batch = threads
        self.context = llama_cpp.llama_init_from_model(self.model, context)
        self.feed(64)

    def feed(self, count, restart=True):
        """One batch of `count` tokens; the logits of the last."""
        if restart:
            llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(self.context), True)
        tokens = (llama_cpp.llama_token * count)(*range(1000, 1000 + count))
        if llama_cpp.llama_decode(self.context, llama_cpp.llama_batch_get_one(tokens, count)):
            raise SystemExit("cpu_model.py: llama_decode failed")
        logits = np.ctypeslib.as_array(llama_cpp.llama_get_logits_ith(self.context, -1), (VOCAB,))
        if not np.isfinite(logits).all():
            raise SystemExit("cpu_model.py: llama.cpp's logits are not finite")

    def decode_ms(self):
        self.feed(DEPTH)
        times = []
        for _ in range(STEPS):
            begin = time.perf_counter()
            self.feed(1, restart=False)
            times.append(1e3 * (time.perf_counter() - begin))
        return float(np.median(times))

    def prefill_ms(self):
        begin = time.perf_counter()
        self.feed(PROMPT)
        return 1e3 * (time.perf_counter() - begin)


def octavo_round(program, threads):
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([program, "--rounds", "1", "--prompt", str(PROMPT), "-t", str(threads), "--out", folder], check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return json.loads((Path(folder) / "model.json").read_text())


def spread(rounds):
    times = sorted(rounds)
    at = lambda share: times[min(len(times) - 1, int(share * len(times)))]  # noqa: E731
    return {"best": times[0], "p20": at(0.2), "p50": at(0.5), "p80": at(0.8)}


def row(case, shape, rounds, tokens):
    return {"case": case, "shape": shape, "impl": "llama.cpp", "variant": "q8_0 " + llama_cpp.__version__,
            "ms": spread(rounds), "tokens_per_s": 1e3 * tokens / min(rounds)}


def write(folder, best, peers):
    for r in best["rows"]:
        if "gbs" in r:
            r["pct_ceiling"] = 100 * r["gbs"] / best["ceilings"]["read_gbs"]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.json").write_text(json.dumps(best | {"rows": best["rows"] + peers}, indent=1) + "\n")


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--octavo", required=True)
    arguments.add_argument("--gguf", required=True, type=Path)
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--threads", type=int, default=2)
    arguments.add_argument("--out", type=Path, default=Path("bench/results/cpu"))
    o = arguments.parse_args()
    if not o.gguf.exists():
        write_model(o.gguf)
    quiet = llama_cpp.llama_log_callback(lambda level, text, data: None)
    llama_cpp.llama_log_set(quiet, ctypes.c_void_p(0))
    peer = LlamaCpp(o.gguf, o.threads)

    best, decode, prefill, own = None, [], [], ([], [])
    for i in range(o.rounds):
        ours = octavo_round(o.octavo, o.threads)
        decode.append(peer.decode_ms()), prefill.append(peer.prefill_ms())
        times = [r["ms"]["best"] for r in ours["rows"]]
        own[0].append(times[0]), own[1].append(times[1])
        print(f"round {i + 1}: decode octavo {times[0]:.1f} ms, llama.cpp {decode[-1]:.1f} ms; prefill of {PROMPT} octavo {times[1]:.0f} ms, "
              f"llama.cpp {prefill[-1]:.0f} ms; read {ours['ceilings']['read_gbs']} GB/s", flush=True)
        if best is None:
            best = ours
        else:
            best["ceilings"]["read_gbs"] = max(best["ceilings"]["read_gbs"], ours["ceilings"]["read_gbs"])
            for kept, new in zip(best["rows"], ours["rows"]):
                if new["ms"]["best"] < kept["ms"]["best"]:
                    kept.update(new)
        for kept, rounds in zip(best["rows"], own):
            kept["ms"] = spread(rounds)
        peers = [row("1b/decode/b1", {"batch": 1, "depth": DEPTH}, decode, 1), row("1b/prefill/b1", {"batch": 1, "prompt": PROMPT}, prefill, PROMPT)]
        write(o.out, best, peers)
    for ours, theirs in zip(best["rows"], peers):
        print(f"{ours['case']}: {theirs['ms']['best'] / ours['ms']['best']:.2f}x llama.cpp")


if __name__ == "__main__":
    main()
