"""The ops on NumPy arrays, without torch: zero copy, values, errors that name the argument, no growth."""
import numpy as np
import pytest

import octavo
from octavo import _octavo

rng = np.random.default_rng(1)


def rand(*shape):
    return rng.standard_normal(shape, dtype=np.float32)


def quantise(x):
    amax = np.abs(x).max(-1, keepdims=True)
    return np.clip(np.rint(x * (np.float32(127) / amax)), -127, 127), (amax / np.float32(127))[..., 0]


def test_norms():
    x, r, w, b = rand(3, 5, 64), rand(3, 5, 64), rand(64), rand(64)

    def rms(u):
        return u / np.sqrt((u ** 2).mean(-1, keepdims=True) + 1e-5) * w

    def layer(u):
        return (u - u.mean(-1, keepdims=True)) / np.sqrt(u.var(-1, keepdims=True) + 1e-5) * w + b

    np.testing.assert_allclose(octavo.rms_norm(x, w), rms(x), rtol=2e-5, atol=2e-5)
    y, u = octavo.rms_norm(x, w, residual=r)
    assert np.array_equal(u, x + r)
    np.testing.assert_allclose(y, rms(x + r), rtol=2e-5, atol=2e-5)
    y, u = octavo.layer_norm(x, w, b, residual=r)
    np.testing.assert_allclose(y, layer(x + r), rtol=2e-5, atol=2e-5)
    codes, scale = octavo.layer_norm(x, w, b, int8=True)
    np.testing.assert_allclose(codes * scale[..., None], layer(x), atol=np.abs(layer(x)).max() / 127)


def test_quantise_and_multiply_exactly():
    x, w = rand(7, 130), rand(24, 130)
    (codes, scale), (w_codes, w_scale) = octavo.quantize_rows(x), octavo.quantize_rows(w)
    assert codes.dtype == np.int8
    wanted_codes, wanted_scale = quantise(x)
    assert np.array_equal(codes, wanted_codes) and np.array_equal(scale, wanted_scale)
    sums = codes.astype(np.int64) @ w_codes.astype(np.int64).T
    assert np.array_equal(octavo.gemm_w8a8_s32(codes, w_codes), sums)
    np.testing.assert_allclose(octavo.gemm_w8a8(codes, scale, w_codes, w_scale), sums * w_scale * scale[:, None], rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(octavo.gemm_w8a16(x, w_codes, w_scale), x @ (w_codes * w_scale[:, None]).T, rtol=1e-4, atol=1e-4)


def test_threads_do_not_change_results():
    x, w = rand(300, 256), rand(200, 256)
    before = octavo.get_num_threads()
    results = []
    for threads in (1, 2, 3):
        octavo.set_num_threads(threads)
        results.append((octavo.gemm_f(x, w), octavo.rms_norm(x, w[0])))
    octavo.set_num_threads(before)
    assert all(np.array_equal(a, b) for result in results[1:] for a, b in zip(result, results[0]))
    with pytest.raises(octavo.UsageError, match="threads is -1"):
        octavo.set_num_threads(-1)


def test_calls_from_many_threads_at_once():
    from concurrent.futures import ThreadPoolExecutor
    x, w = rand(64, 512), rand(512)
    wanted = octavo.rms_norm(x, w)
    with ThreadPoolExecutor(8) as pool:
        assert all(np.array_equal(y, wanted) for y in pool.map(lambda _: octavo.rms_norm(x, w), range(200)))


def test_views_are_read_and_written_in_place():
    wide, w = rand(9, 100), rand(64)
    assert np.array_equal(octavo.rms_norm(wide[::2, 3:67], w), octavo.rms_norm(wide[::2, 3:67].copy(), w))
    out = np.zeros((9, 100), np.float32)
    _octavo.rms_norm(wide[:, :64], w, None, None, out[:, 10:74], None, None, 1e-5)
    assert np.array_equal(out[:, 10:74], octavo.rms_norm(wide[:, :64], w)) and not out[:, :10].any() and not out[:, 74:].any()


def test_read_only_arrays():
    x, w, out = rand(3, 8), rand(8), rand(3, 8)
    x.flags.writeable = out.flags.writeable = False
    assert octavo.rms_norm(x, w).shape == (3, 8)
    with pytest.raises(octavo.UsageError, match="rms_norm: y is read-only, but the op writes to it"):
        _octavo.rms_norm(x, w, None, None, out, None, None, 1e-5)


@pytest.mark.parametrize("call, message", [
    (lambda x, w: octavo.rms_norm(x.astype(np.float64), w), r"rms_norm: x is f64\[3, 8\], expected one of: f32, f16, bf16"),
    (lambda x, w: octavo.rms_norm(x.astype(np.int16), w), "rms_norm: x has an element type that octavo does not know"),
    (lambda x, w: octavo.rms_norm(x, w[:5]), r"rms_norm: weight is f32\[5\], expected shape \[8\]"),
    (lambda x, w: octavo.rms_norm(x[:, ::2], w[:4]), "rms_norm: x .*has stride 2 in its last dimension, expected 1"),
    (lambda x, w: octavo.rms_norm(np.transpose(np.stack((x, x)), (1, 0, 2)), w), r"rms_norm: x has strides .* call \.contiguous\(\)"),
    (lambda x, w: octavo.rms_norm(x.tolist(), w), "rms_norm: x is a list, expected a tensor"),
    (lambda x, w: octavo.rms_norm(x, "w"), "rms_norm: weight is a str, expected a tensor"),
    (lambda x, w: octavo.quantize_rows(np.frombuffer(b"\0" * 33, np.uint8)[1:].view(np.float32)), "quantize_rows: x begins at an address"),
    (lambda x, w: octavo.embedding(np.array([0, 3], np.int32), x), "embedding: ids holds id 3 at position 1, outside the vocabulary of 3"),
    (lambda x, w: octavo.gemm_w8a8_s32(x, w), "gemm_w8a8: x is f32"),
    (lambda x, w: octavo.rms_norm(np.zeros((1,) * 9, np.float32), w), "rms_norm: x has 9 dimensions, at most 8"),
    (lambda x, w: octavo.attention_f(x[None, :, None], x[None, :, None], np.stack((x, x), -1)[None, :, None, :, 0]), "attention_f: v has stride"),
])
def test_what_is_wrong_is_named(call, message):
    with pytest.raises(octavo.UsageError, match=message) as raised:
        call(rand(3, 8), rand(8))
    assert isinstance(raised.value, ValueError) and raised.value.exit_code == 2


def test_arrays_are_not_kept_alive():
    import sys
    x, w = rand(3, 8), rand(8)
    before = sys.getrefcount(x), sys.getrefcount(w)
    for _ in range(10):
        octavo.rms_norm(x, w)
    assert (sys.getrefcount(x), sys.getrefcount(w)) == before


def test_calls_do_not_grow(expect_no_growth):
    x, w = rand(4, 64), rand(64)

    def body():
        octavo.rms_norm(x, w, residual=x)
        try:
            octavo.rms_norm(x, w[:3])
        except octavo.UsageError:
            pass

    expect_no_growth(body, 10_000, 2 << 20)


def test_errors_at_run_time_have_their_own_class():
    with pytest.raises(octavo.Error, match="sample: logits hold NaN at id 0") as raised:
        octavo.sample(np.full(8, np.nan, np.float32))
    assert not isinstance(raised.value, octavo.UsageError) and raised.value.exit_code == 1
