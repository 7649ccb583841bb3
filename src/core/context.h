// What an op runs on: device, instruction set, threads or stream, scratch memory. Passed to every op; owns nothing.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "core/tensor.h"

namespace octavo {

class ThreadPool;

// Instruction sets of the CPU backend, ascending. avx512 means F, BW, VL, DQ and VNNI.
enum class Isa : uint8_t { reference, avx2, avx512 };
inline constexpr Isa kAllIsas[] = {Isa::reference, Isa::avx2, Isa::avx512};
const char* name_of(Isa isa);
Isa best_isa();  // of this CPU
bool cpu_has(Isa isa);
Isa parse_isa(const std::string& name);  // throws usage for an unknown name, no_device when this CPU lacks it

// Facts of the device that variant predicates may ask for.
struct DeviceFacts {
  Backend backend = Backend::cpu;
  std::string name;  // "AMD EPYC 7B13", "NVIDIA H200"
  int cores = 0;     // physical CPU cores available, or multiprocessors
  int64_t last_level_cache_bytes = 0;
  int compute_capability = 0;  // 90 for Hopper; 0 on a CPU
  int64_t shared_bytes_per_block = 0;
};
const DeviceFacts& cpu_facts();

// What an op's dispatch chose, for `octavo explain` and messages; reads as the variant's name.
struct KernelInfo {
  const char* variant;  // "avx512_vnni"
  const char* why;      // what the variant asks for, in words
  operator const char*() const { return variant; }
};

struct Context {
  Backend backend = Backend::cpu;
  Isa isa = best_isa();        // variants above it are not chosen
  ThreadPool* pool = nullptr;  // null: one thread
  void* stream = nullptr;      // cudaStream_t when backend is cuda
  Tensor workspace;  // u8 scratch, at least <op>_workspace_bytes(args, facts); empty if no op needs any
  const DeviceFacts* facts = &cpu_facts();
};

}  // namespace octavo
