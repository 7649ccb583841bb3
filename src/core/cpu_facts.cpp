#include <fmt/format.h>
#include <sched.h>
#include <unistd.h>
#if defined(__x86_64__)
#include <cpuid.h>
#endif

#include <fstream>

#include "core/context.h"

namespace octavo {

const char* name_of(Isa isa) {
  switch (isa) {
    case Isa::reference: return "reference";
    case Isa::avx2: return "avx2";
    default: return "avx512";
  }
}

#if defined(__x86_64__)
// NOTE: clang 16's __builtin_cpu_supports does not know f16c.
static bool has_f16c() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C);
}
#endif

bool cpu_has(Isa isa) {
#if defined(__x86_64__)
  switch (isa) {
    case Isa::reference: return true;
    case Isa::avx2: return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c();
    default:
      return cpu_has(Isa::avx2) && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
             __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
             __builtin_cpu_supports("avx512vnni");
  }
#else
  return isa == Isa::reference;
#endif
}

Isa best_isa() {
  static const Isa best = cpu_has(Isa::avx512) ? Isa::avx512
                          : cpu_has(Isa::avx2) ? Isa::avx2
                                               : Isa::reference;
  return best;
}

Isa parse_isa(const std::string& name) {
  if (name == "auto") return best_isa();
  for (Isa isa : kAllIsas) {
    if (name != name_of(isa)) continue;
    if (!cpu_has(isa))
      throw Error(ErrorKind::no_device, fmt::format("--isa {}: this CPU ({}) lacks it; the best it has is {}",
                                                    name, cpu_facts().name, name_of(best_isa())));
    return isa;
  }
  throw Error(ErrorKind::usage,
              fmt::format("--isa {}: unknown; known are auto, reference, avx2, avx512", name));
}

const DeviceFacts& cpu_facts() {
  static const DeviceFacts facts = [] {
    DeviceFacts f;
    f.name = "unknown CPU";
    std::ifstream cpuinfo("/proc/cpuinfo");
    for (std::string line; std::getline(cpuinfo, line);)
      if (line.rfind("model name", 0) == 0) {
        f.name = line.substr(line.find(':') + 2);
        break;
      }
    cpu_set_t set;
    f.cores = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
    const long l3 = sysconf(_SC_LEVEL3_CACHE_SIZE);
    f.last_level_cache_bytes = l3 > 0 ? l3 : 0;
    return f;
  }();
  return facts;
}

}  // namespace octavo
