// One description of a case drives everything: tests on every instruction set, `./dev verify` on a GPU, benches, and the
// support table. An op's `<op>_cases.h` returns a std::vector<OpCase>; the harness allocates, fills, runs and judges.
#pragma once
#include <functional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "core/context.h"
#include "harness/compare.h"
#include "harness/host_tensor.h"

namespace octavo::harness {

// How an output is judged (design 3).
enum class Judge {
  exact,   // bitwise equal to the reference run with the same dtypes (NaN equals NaN)
  floats,  // check_float_rule against fp64 reference and plain version
  codes,  // i8, after dequantisation: |code * scale - value| <= (0.5 + 2^-10) amax / 127 + fp32 slack, value and amax from
  // the fp64 reference; its scale is the next argument, judged with it (relative 1e-6 + slack; NaN rows: scale
  // NaN, codes 0; rows that fp32 cannot tell from zero may have scale 1, codes 0)
  scale,  // f32 scale that belongs to the `codes` argument before it
};

struct CaseArg {
  std::string name;  // "x", "y_codes"
  DType dtype;
  std::vector<int64_t> shape;
  std::function<void(HostTensor&, uint64_t seed)>
      fill;                    // inputs, and outputs that are read too; empty: output
  Judge judge = Judge::exact;  // outputs
  double nmse_cap = 1e-6;      // floats
  double relative_slack = 0;   // floats: FloatRule's
  int64_t pitch = 0;           // elements between rows; 0: dense
  int64_t misalign = 0;        // elements past a 64-byte boundary
  bool output = false;         // set by output(); an argument may have fill and output both (in place)
};

CaseArg input(std::string name, DType dtype, std::vector<int64_t> shape,
              std::function<void(HostTensor&, uint64_t)> fill);
CaseArg output(std::string name, DType dtype, std::vector<int64_t> shape, Judge judge);

using CaseTensors = std::span<const Tensor>;  // one view per CaseArg, in order, on the context's backend

struct OpCase {
  std::string
      name;         // shape joined with x, then parameters: "17x1025/f16/residual"; also the seed of its data
  std::string why;  // the reason that this case exists
  std::vector<CaseArg> args;
  std::function<void(const Context&, CaseTensors)> call;
  // The specification in fp64 arithmetic. Outputs judged `floats` or `codes` arrive as f64 tensors: it stores unrounded
  // values there (for codes: the value before quantisation; their scale argument is then not written).
  std::function<void(CaseTensors)> reference;
  std::function<void(CaseTensors)>
      plain;  // the same in plain fp32 with the true dtypes; needed for `floats` only
  std::function<std::string(const Context&, CaseTensors)> variant;  // what dispatch chooses; for benches
  std::vector<std::pair<std::string, int64_t>> shape;               // {"M", 1}, ...; for benches
  int64_t bytes = 0;  // the fewest bytes the call must move: each input read once, each output written once
  int64_t ops = 0;    // multiply-adds counted as two
  bool perf = false;  // a case of the bench
  bool nan_declared = false;  // inputs hold NaN or Inf on purpose
};

struct OutputResult {
  std::string name;
  std::string problem;  // empty: passed
  ErrorStats errors;    // floats and codes (codes: in steps of amax / 127, less the fp32 slack)
  ErrorStats plain;     // floats: of the plain version
  double slack = 0;     // floats: a of the rule
  std::string digest;   // exact: hex FNV-1a 64 of the bytes, NaN made canonical
};
struct CaseResult {
  std::string name;
  std::string problem;  // empty: passed; else the first problem, with the argument's name
  std::vector<OutputResult> outputs;
};

// Runs the case on ctx (backend cpu) twice: judges the outputs, compares the runs bit for bit, and checks that inputs,
// padding and canaries are unchanged.
CaseResult run_case(const Context& ctx, const OpCase& op_case);

// The parts of run_case, for backends that bring their own memory (verify on CUDA).
std::vector<HostTensor> make_args(const OpCase& op_case);
CaseResult judge(const OpCase& op_case, const std::vector<HostTensor>& before,
                 const std::vector<HostTensor>& after);

// Fills for inputs.
std::function<void(HostTensor&, uint64_t)> normal(double sigma = 1.0);
std::function<void(HostTensor&, uint64_t)> uniform(double low, double high);
std::function<void(HostTensor&, uint64_t)> all_codes();  // i8, -128 included
std::function<void(HostTensor&, uint64_t)> constant(double value);
std::function<void(HostTensor&, uint64_t)> integers(int64_t low, int64_t high);  // [low, high)
// Rows cycle through: normal, zeros, one outlier 1e4, NaN first, Inf last, denormals, constant, alternating signs, 1e-8.
std::function<void(HostTensor&, uint64_t)> hard_rows();

std::string digest_of(const HostTensor& t);

// The cases that a CPU test has time for: the large ones are for benches and GPUs.
std::vector<OpCase> small_cases(std::vector<OpCase> cases, int64_t most_elements = 1 << 19);

}  // namespace octavo::harness
