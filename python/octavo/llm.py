"""The engine: a model folder in, text out. Needs no torch."""
from __future__ import annotations

import os
import re
import secrets
import weakref
from dataclasses import dataclass
from pathlib import Path

from . import _octavo
from .errors import ModelError, UsageError

_KV_CACHE_DTYPES = {"auto": "auto", "f32": "f32", "f16": "f16", "fp16": "f16", "int8": "int8", "q8_0": "int8"}
_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}


@dataclass(frozen=True)
class Generation:
    """What a prompt led to."""

    text: str
    ids: list[int]                  # generated tokens
    finish_reason: str              # "end of text" | "stop string" | "token limit" | "context full" | "cancelled"
    seed: int                       # gives this text again
    prompt_tokens: int
    generated_tokens: int
    prefill_tokens_per_s: float
    decode_tokens_per_s: float

    def __str__(self):
        return self.text


class TextStream:
    """Pieces of text as they become final; `result` after the last one. Closing it, or dropping it, stops the generation."""

    def __init__(self, stream, seed, first=""):
        self._stream, self._seed, self._first = stream, seed, first
        self._stop = weakref.finalize(self, stream.close)  # also before the interpreter ends

    def __iter__(self):
        return self

    def __next__(self) -> str:
        if self._first:
            piece, self._first = self._first, ""
            return piece
        piece = self._stream.next()
        if piece is None:
            raise StopIteration
        return piece.decode("utf-8", "replace")

    @property
    def result(self) -> Generation:
        """The whole generation. Raises UsageError before the stream has ended."""
        r = self._stream.result()
        return Generation(r.text.decode("utf-8", "replace"), list(r.ids), r.finish_reason, self._seed, r.prompt_tokens,
                          r.generated_tokens, r.prefill_tokens_per_s, r.decode_tokens_per_s)

    def close(self):
        self._stop()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class LLM:
    """A model in memory; the options are those of `octavo generate`.

    model: a Hugging Face folder, a .gguf file, or org/name in the Hugging Face cache; None: the built-in model.
    quantization: "auto" (w8a8 for the prompt, w8a16 for generation) | "w8a8" | "w8a16" | "none".
    kv_cache_dtype: "auto" (f16; f32 with quantization "none") | "f32" | "f16" | "int8".
    context: tokens; 0: the model's, at most 8192. prefill_chunk: prompt tokens taken at once.
    memory_budget: bytes, or "6GiB": a hard limit for everything that is allocated; the context shrinks to fit.
    threads: 0: one per core. isa: "auto" | "reference" | "avx2" | "avx512". tokenizer: a folder or file instead of the model's.

    Raises ModelError, OutOfMemoryError (budget), NoDeviceError (isa), UsageError. One generation at a time; after a fork
    the child may go on with the model, on one thread.
    """

    def __init__(self, model: str | os.PathLike | None = None, *, quantization="auto", kv_cache_dtype="auto", context=0,
                 prefill_chunk=256, memory_budget: int | str = 0, threads=0, isa="auto", tokenizer: str | os.PathLike | None = None):
        if kv_cache_dtype not in _KV_CACHE_DTYPES:
            raise UsageError(f"kv_cache_dtype {kv_cache_dtype}: unknown; known are auto, f32, f16, int8")
        for name, value, least, most in (("context", context, 0, 2**62), ("prefill_chunk", prefill_chunk, 1, 2**62), ("threads", threads, 0, 1024)):
            if not least <= value <= most:
                raise UsageError(f"{name} {value}: must be at least {least}" + (f" and at most {most}" if most < 2**62 else ""))
        self.path = find_model(model)
        self._model = _octavo.load_model(self.path, quantization, _KV_CACHE_DTYPES[kv_cache_dtype], context, prefill_chunk, threads,
                                         isa, parse_bytes(memory_budget), str(tokenizer or ""))
        self._defaults = _octavo.generation_defaults(self.path)

    @property
    def options(self) -> dict:
        """What was chosen: context, quantization, threads, isa, kv_cache_dtype, weight_bytes, kv_bytes."""
        return self._model.options

    def encode(self, text: str) -> list[int]:
        """Token ids, with the special tokens that the tokenizer adds."""
        return self._model.encode(text)

    def generate(self, prompt: str | list[int], **options) -> Generation:
        """The whole continuation of a prompt; options as `stream`. Ctrl-C stops it after the token under way."""
        with self.stream(prompt, **options) as stream:
            for _ in stream:
                pass
            return stream.result

    def stream(self, prompt: str | list[int], *, max_tokens=128, temperature: float | None = None, top_k: int | None = None,
               top_p: float | None = None, min_p: float | None = None, repeat_penalty: float | None = None, seed: int | None = None,
               stop: str | list[str] = (), ignore_eos=False, echo=False) -> TextStream:
        """The continuation, piece by piece: an iterator of strings.

        prompt: text or token ids. max_tokens: -1: until the end of the text or the context. temperature: 0: always the most
        likely token. top_k 0, top_p 1, min_p 0, repeat_penalty 1: off. None: what the model's generation_config.json says,
        else temperature 0.8 and the others off. seed: the same seed gives the same text; None: a random one, in `result`.
        stop: end at this text (or one of these). echo: the prompt comes first.
        """
        chosen = {"temperature": 0.8, "top_k": 0, "top_p": 1.0, "min_p": 0.0, "repeat_penalty": 1.0} | self._defaults
        given = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "min_p": min_p, "repeat_penalty": repeat_penalty}
        chosen |= {name: value for name, value in given.items() if value is not None}
        seed = secrets.randbits(32) if seed is None else seed
        if not 0 <= seed < 2**64:
            raise UsageError(f"seed {seed}: must be from 0 to 2^64 - 1")
        ids = self._model.encode(prompt) if isinstance(prompt, str) else [int(i) for i in prompt]
        stream = _octavo.start_stream(self._model, ids, max_tokens=max_tokens, seed=seed, ignore_eos=ignore_eos,
                                      stop=[stop] if isinstance(stop, str) else list(stop), **chosen)
        return TextStream(stream, seed, prompt if echo and isinstance(prompt, str) else "")


def parse_bytes(size: int | str) -> int:
    """6442450944 or "6GiB" -> bytes."""
    if isinstance(size, int):
        if size < 0:
            raise UsageError(f"memory_budget {size}: must be at least 0")
        return size
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", size)
    if not match or match[2].upper() not in _UNITS:
        raise UsageError(f"memory_budget {size!r}: expected bytes, or a number with KB, MB, GB, KiB, MiB or GiB")
    return int(float(match[1]) * _UNITS[match[2].upper()])


def find_model(model) -> str:
    """A folder or file as given, org/name in the Hugging Face cache, or the built-in model."""
    if model is None:
        packaged = Path(__file__).parent / "share" / "octavo" / "models" / "demo"
        folder = Path(os.environ.get("OCTAVO_DEMO_MODEL", "") or packaged)
        if (folder / "config.json").exists():
            return str(folder)
        raise ModelError(f"the built-in model is not at {folder}; set OCTAVO_DEMO_MODEL to its folder, or give a model")
    path = Path(model)
    if path.is_file() and path.suffix == ".safetensors":
        return str(path.parent)
    if path.exists():
        return str(path)
    name, cached = str(model), None
    if re.fullmatch(r"[\w.-]+/[\w.-]+", name) and ".." not in name and not name.startswith("."):
        home = Path(os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface")
        cached = Path(os.environ.get("HF_HUB_CACHE") or home / "hub") / ("models--" + name.replace("/", "--"))
        ref = cached / "refs" / "main"
        snapshot = cached / "snapshots" / (ref.read_text().strip() if ref.exists() else "-")
        if (snapshot / "config.json").exists():
            return str(snapshot)
    raise ModelError(f"{name}: no such folder" + (f", and the Hugging Face cache has no {cached}" if cached else "")
                     + "; give a Hugging Face folder with config.json, tokenizer.json and *.safetensors, or a .gguf file")
