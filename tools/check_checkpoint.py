#!/usr/bin/env python3
"""An INT8 folder that octavo wrote, read by other people's packages: the same values, or exit code 1.

    python3 tools/check_checkpoint.py SOURCE INT8

SOURCE is the model of floats, INT8 what `octavo quantize -m SOURCE -o INT8` made of it. Checked: every tensor as the safetensors
package reads it against the quantiser's definition (docs/numerics.md) in numpy; the config as the compressed-tensors package
parses it; every linear layer as that package decompresses it.
"""
import argparse
import json
import sys
from pathlib import Path

import numpy as np
import torch
from compressed_tensors.compressors.naive_quantized.base import IntQuantizationCompressor
from compressed_tensors.quantization import QuantizationConfig
from safetensors.torch import load_file


def load_folder(folder):
    tensors = {}
    for file in sorted(folder.glob("model*.safetensors")):
        tensors.update(load_file(str(file)))
    return tensors


def quantise(w):
    """scale = amax / 127; q = clamp(round half even(x * (127 / amax))): in f32, by rows."""
    x = w.float().numpy()
    amax = np.abs(x).max(1, keepdims=True)
    zero = amax < np.float32(2.0 ** -120)
    safe = np.where(zero, np.float32(1), amax)
    codes = np.clip(np.rint(x * (np.float32(127) / safe)), -127, 127).astype(np.int8)
    return np.where(zero, 0, codes).astype(np.int8), np.where(zero, np.float32(1), amax / np.float32(127)).astype(np.float32)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("source", type=Path)
    p.add_argument("int8", type=Path)
    a = p.parse_args()
    torch.set_num_threads(1)
    source, written = load_folder(a.source), load_folder(a.int8)
    config = json.loads((a.int8 / "config.json").read_text())
    parsed = QuantizationConfig.model_validate(config["quantization_config"])
    group = parsed.config_groups["group_0"]
    assert (group.weights.num_bits, str(group.weights.strategy), group.weights.symmetric) == (8, "channel", True), group.weights
    assert (str(group.input_activations.strategy), group.input_activations.dynamic) == ("token", True), group.input_activations

    layers = 0
    for name, w in source.items():
        if f"{name}_scale" not in written:
            assert torch.equal(w, written[name]), f"{name} is not as it was"
            continue
        codes, scale = quantise(w)
        assert written[name].dtype == torch.int8 and np.array_equal(written[name].numpy(), codes), f"codes of {name}"
        assert np.array_equal(written[f"{name}_scale"].numpy(), scale), f"scales of {name}"
        layers += 1
    assert set(written) == set(source) | {f"{n}_scale" for n in source if f"{n}_scale" in written}, "tensors were added or lost"

    for name in source:
        if f"{name}_scale" not in written:
            continue
        state = {"weight": written[name], "weight_scale": written[f"{name}_scale"]}
        values = IntQuantizationCompressor.decompress(state, group)["weight"]
        assert torch.equal(values.float(), written[name].float() * written[f"{name}_scale"]), f"compressed-tensors reads {name} as other values"
    print(f"{layers} linear layers: codes, scales and values are equal")
    return 0


if __name__ == "__main__":
    sys.exit(main())
