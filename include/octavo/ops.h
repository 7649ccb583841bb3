// Every op of octavo: one line each. An op is a function of a Context and a struct of arguments; its header documents both.
#pragma once
#include "ops/attention_f/attention_f.h"
#include "ops/embedding/embedding.h"
#include "ops/gemm_f/gemm_f.h"
#include "ops/gemm_w8a16/gemm_w8a16.h"
#include "ops/gemm_w8a8/gemm_w8a8.h"
#include "ops/kv_append/kv_append.h"
#include "ops/quantize_rows/quantize_rows.h"
#include "ops/rms_norm/rms_norm.h"
#include "ops/rope/rope.h"
#include "ops/sample/sample.h"
#include "ops/silu_mul/silu_mul.h"
