// Dispatch: an op owns a constexpr table of variants, best first; `choose` is the one pure function that picks a row.
#pragma once
#include <array>
#include <cstddef>
#include <string>

#include "core/context.h"

namespace octavo {

template <class Args>
struct Variant {
  const char* name;  // "avx512_vnni", "sm90_tma"; unique in the table
  Backend backend;
  Isa isa;                                           // least instruction set; ignored on cuda
  bool (*accepts)(const Args&, const DeviceFacts&);  // null: always
  const char* when;  // what `accepts` asks for, in words, for `octavo explain`
  void (*run)(const Context&, const Args&);
};

template <class Args, size_t N>
using VariantTable = std::array<Variant<Args>, N>;

template <class Args, size_t N>
const Variant<Args>& choose(const VariantTable<Args, N>& table, const char* op, const Context& ctx,
                            const Args& args) {
  for (const auto& v : table)
    if (v.backend == ctx.backend && (v.backend == Backend::cuda || v.isa <= ctx.isa) &&
        (!v.accepts || v.accepts(args, *ctx.facts)))
      return v;
  throw Error(ErrorKind::usage, std::string(op) + ": no variant serves this call on " + ctx.facts->name);
}

template <class Args>
KernelInfo kernel_info(const Variant<Args>& v) {
  return {v.name, v.when ? v.when : "always"};
}

}  // namespace octavo
