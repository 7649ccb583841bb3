"""octavo.LLM without torch: the program's text, streams, seeds, errors, Ctrl-C, fork, no growth."""
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import octavo

DEMO = Path(octavo.__file__).parent / "share/octavo/models/demo"
GOLDENS = Path(__file__).parents[2] / "tests/goldens"


@pytest.fixture(scope="module")
def llm():
    return octavo.LLM(threads=1)


def run_python(code, **options):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, **options)


def test_same_text_as_the_program(llm):
    ours = llm.generate("Once upon a time", max_tokens=24, seed=7, temperature=0.9, top_k=20)
    program = subprocess.run([sys.executable, "-m", "octavo", "generate", "-p", "Once upon a time", "-n", "24", "--seed", "7", "--temp", "0.9",
                              "--top-k", "20", "--json", "-t", "1"], capture_output=True, text=True, timeout=120)
    assert program.returncode == 0, program.stderr
    theirs = json.loads(program.stdout)
    assert (ours.text, ours.ids, ours.finish_reason) == (theirs["text"], theirs["ids"], theirs["finish_reason"])
    assert ours.generated_tokens == len(ours.ids) == 24 and ours.prompt_tokens == theirs["prompt_tokens"] and str(ours) == ours.text


def test_stream_is_the_text_in_pieces(llm):
    stream = llm.stream("The old house", max_tokens=30, seed=1)
    pieces = list(stream)
    assert "".join(pieces) == stream.result.text == llm.generate("The old house", max_tokens=30, seed=1).text
    assert list(llm.stream("The old house", max_tokens=3, seed=1, echo=True))[0] == "The old house"
    assert llm.generate(llm.encode("The old house"), max_tokens=30, seed=1).text == stream.result.text


def test_seeds(llm):
    texts = {llm.generate("Once", max_tokens=20, seed=s).text for s in range(4)}
    assert len(texts) > 1
    unseeded = llm.generate("Once", max_tokens=20)
    assert llm.generate("Once", max_tokens=20, seed=unseeded.seed).text == unseeded.text
    assert llm.generate("Once", max_tokens=20, temperature=0, seed=1).text == llm.generate("Once", max_tokens=20, temperature=0, seed=2).text


def test_stop_and_limits(llm):
    whole = llm.generate("Once upon a time", max_tokens=40, temperature=0)
    word = whole.text.split()[5]
    stopped = llm.generate("Once upon a time", max_tokens=40, temperature=0, stop=word)
    assert stopped.finish_reason == "stop string" and word not in stopped.text and whole.text.startswith(stopped.text)
    assert llm.generate("Once", max_tokens=0).text == "" and whole.finish_reason == "token limit"
    small = octavo.LLM(context=64, threads=1)
    assert small.options["context"] == 64
    assert small.generate("Once", max_tokens=-1, ignore_eos=True, seed=1).finish_reason == "context full"


def test_options_reach_the_engine():
    llm = octavo.LLM(DEMO, quantization="none", kv_cache_dtype="auto", context=128, prefill_chunk=16, isa="reference", threads=1)
    assert llm.options | {"quantization": "none", "kv_cache_dtype": "f32", "context": 128, "prefill_chunk": 16, "isa": "reference"} == llm.options
    assert octavo.LLM(kv_cache_dtype="int8", context=128).options["kv_cache_dtype"] == "i8"
    full = octavo.LLM(context=1024).options["kv_bytes"]
    with pytest.raises(octavo.OutOfMemoryError, match="--memory-budget|memory"):
        octavo.LLM(memory_budget="1MiB")
    assert octavo.LLM(memory_budget="14MiB").options["kv_bytes"] < full


@pytest.mark.parametrize("call, error, message", [
    (lambda m: octavo.LLM("/nowhere/model"), octavo.ModelError, "/nowhere/model: no such folder"),
    (lambda m: octavo.LLM("org/never-downloaded"), octavo.ModelError, "the Hugging Face cache has no"),
    (lambda m: octavo.LLM(quantization="int3"), octavo.UsageError, "int3"),
    (lambda m: octavo.LLM(kv_cache_dtype="fp8"), octavo.UsageError, "kv_cache_dtype fp8: unknown"),
    (lambda m: octavo.LLM(context=10**6), octavo.UsageError, "1000000"),
    (lambda m: octavo.LLM(context=-1), octavo.UsageError, "context -1: must be at least 0"),
    (lambda m: octavo.LLM(isa="avx3"), octavo.UsageError, "avx3"),
    (lambda m: octavo.LLM(memory_budget="6 parsecs"), octavo.UsageError, "memory_budget '6 parsecs'"),
    (lambda m: m.generate([5000]), octavo.UsageError, "id 5000 is outside the vocabulary of 4096"),
    (lambda m: m.generate("x", top_p=2.0), octavo.UsageError, "top_p"),
    (lambda m: m.generate("x", seed=-1), octavo.UsageError, "seed -1"),
    (lambda m: m.generate("word " * 2000), octavo.UsageError, "the prompt has .* tokens, the context"),
])
def test_errors_name_the_cause(llm, call, error, message):
    with pytest.raises(error, match=message):
        call(llm)
    assert llm.generate("Once", max_tokens=1, seed=1).generated_tokens == 1  # and the model goes on


def test_one_generation_at_a_time(llm):
    stream = llm.stream("Once", max_tokens=-1, ignore_eos=True, seed=1)
    next(stream)
    with pytest.raises(octavo.UsageError, match="generating already"):
        llm.generate("Once")
    with pytest.raises(octavo.UsageError, match="the stream has not ended"):
        stream.result
    stream.close()
    assert stream.result.finish_reason == "cancelled"
    dropped = llm.stream("Once", max_tokens=-1, ignore_eos=True)
    next(dropped)
    del dropped
    assert llm.generate("Once", max_tokens=2, seed=1).generated_tokens == 2


def test_the_lock_is_released_while_it_computes(llm):
    import threading
    count, running = 0, True

    def work():
        nonlocal count
        while running:
            count += 1
            time.sleep(0)

    thread = threading.Thread(target=work)
    thread.start()
    llm.generate("Once upon a time", max_tokens=40, seed=1, ignore_eos=True)
    running = False
    thread.join()
    assert count > 40


def test_interrupt_stops_after_the_token_under_way():
    code = """
import octavo, sys
llm = octavo.LLM(threads=1)
print("ready", flush=True)
try:
    while True: llm.generate("Once upon a time", max_tokens=-1, ignore_eos=True)
except KeyboardInterrupt:
    print("interrupted", flush=True)
print(llm.generate("Once", max_tokens=3, seed=1).generated_tokens)
"""
    # NOTE: what a shell starts in the background ignores SIGINT, and so does Python started by it.
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                               preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, "interrupted\n3\n"), err


def test_the_interpreter_may_end_while_a_stream_runs():
    done = run_python("import octavo\nstream = octavo.LLM().stream('Once', max_tokens=-1, ignore_eos=True)\nnext(stream)")
    assert done.returncode == 0 and done.stderr == ""


def test_fork(llm):
    """The child goes on alone with the model and with the ops, and ends without waiting for threads that it does not have."""
    code = """
import os, sys, octavo
import numpy as np
llm, x, w = octavo.LLM(threads=2), np.ones((64, 512), np.float32), np.ones(512, np.float32)
octavo.set_num_threads(2)
wanted, y = llm.generate("Once", max_tokens=8, seed=1).text, octavo.rms_norm(x, w)
stream = llm.stream("Once", max_tokens=4, seed=1)
text = "".join(stream)
running = octavo.LLM(threads=1).stream("Once", max_tokens=-1, ignore_eos=True)
child = os.fork()
assert llm.generate("Once", max_tokens=8, seed=1).text == wanted
assert np.array_equal(octavo.rms_norm(x, w), y)
if child == 0:
    try:
        next(running)
    except octavo.UsageError as error:
        assert "before a fork" in str(error)
    else:
        sys.exit(3)
    sys.exit(7)
running.close()
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    done = run_python(code)
    assert (done.returncode, done.stdout) == (0, "7\n"), done.stderr


def tiny_model(folder):
    """A Llama of 2 layers with random weights, and a tokenizer of its size."""
    golden = GOLDENS / "llama_tiny"
    if not golden.exists():
        pytest.skip("tests/goldens is not beside the tests")
    vocab = json.loads((golden / "config.json").read_text())["vocab_size"]
    shutil.copytree(golden, folder, dirs_exist_ok=True)
    letters = [chr(c) for c in range(33, 127)][:vocab - 1]
    (folder / "tokenizer.json").write_text(json.dumps({
        "version": "1.0", "added_tokens": [], "normalizer": None, "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True},
        "post_processor": None, "decoder": {"type": "ByteLevel"},
        "model": {"type": "BPE", "vocab": {c: i for i, c in enumerate(letters)}, "merges": [], "unk_token": letters[0]}}))
    return folder


def test_models_and_streams_come_and_go_without_growth(tmp_path, expect_no_growth, llm):
    path = tiny_model(tmp_path / "tiny")

    def load():
        model = octavo.LLM(path, threads=1, context=64)
        model.generate([1, 2, 3], max_tokens=2, seed=1, ignore_eos=True)

    expect_no_growth(load, 1_000, 6 << 20)

    def abandon():
        next(llm.stream([1], max_tokens=3, seed=1, ignore_eos=True), None)

    expect_no_growth(abandon, 1_000, 4 << 20)
    model = octavo.LLM(path, threads=1, context=64)
    expect_no_growth(lambda: model.stream([1, 2], max_tokens=1, seed=1), 10_000, 4 << 20)
