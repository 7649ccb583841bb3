// The specification of attention_f: naive attention, the scores of a row materialised, plain loops.
#pragma once
#include "ops/attention_f/attention_f.h"

namespace octavo {

// The keys [first, end) that query i of a sequence sees; Sq queries, Sk keys, bottom-right causal, sliding window.
struct VisibleKeys {
  int64_t first, end;
};
VisibleKeys visible_keys(const AttentionFArgs& args, int64_t i, int64_t sq, int64_t sk);

// Query row t (of args.q), head h, of `sequence`. scores: [Sk] scratch. out and lse may be f64: then nothing is rounded.
template <class Real>
void attention_f_ref_row(const AttentionFArgs& args, int64_t sequence, int64_t t, int64_t h, Real* scores);

template <class Real>
void attention_f_ref(const AttentionFArgs& args);  // all rows, the same bits; allocates its scratch

}  // namespace octavo
