#include "gpu/device_case.h"

#include <cstring>

#include "gpu/compare.h"

namespace octavo::gpu {
namespace {

using harness::HostTensor;

// The part of a tensor's memory that travels: all of it, or its elements only.
struct Extent {
  int64_t begin, bytes;  // within HostTensor::memory()
};
Extent extent_of(const HostTensor& t, Placement placement) {
  if (placement == Placement::canaried) return {0, t.memory().bytes()};
  if (t.numel() == 0) return {t.first_offset(), 0};
  const Tensor v = t.view();
  int64_t last = 0;
  for (int d = 0; d < v.rank(); ++d) last += (v.dim(d) - 1) * v.stride(d);
  const int64_t misalign = t.first_offset() % 64;  // kept, so that the same kernel is chosen
  return {t.first_offset() - misalign, misalign + (last + 1) * size_of(t.dtype())};
}

Tensor device_view(const HostTensor& t, uint8_t* memory, int64_t begin) {
  const Tensor v = t.view();
  void* first = memory ? memory + (t.first_offset() - begin) : nullptr;
  switch (v.rank()) {
    case 1: return Tensor(first, v.dtype(), {v.dim(0)}, {v.stride(0)}, Backend::cuda);
    case 2: return Tensor(first, v.dtype(), {v.dim(0), v.dim(1)}, {v.stride(0), v.stride(1)}, Backend::cuda);
    case 3:
      return Tensor(first, v.dtype(), {v.dim(0), v.dim(1), v.dim(2)}, {v.stride(0), v.stride(1), v.stride(2)},
                    Backend::cuda);
    default:
      return Tensor(first, v.dtype(), {v.dim(0), v.dim(1), v.dim(2), v.dim(3)},
                    {v.stride(0), v.stride(1), v.stride(2), v.stride(3)}, Backend::cuda);
  }
}

// All arguments of a case in device memory, three times: as given, in use, and after the first call.
struct Arguments {
  std::vector<Extent> extents;
  std::vector<int64_t> offsets;           // in the arena
  std::vector<cuda::DeviceBuffer> exact;  // Placement::exact
  cuda::DeviceBuffer given, used, first;
  std::vector<Tensor> views;
};

Arguments place(const cuda::Stream& stream, const std::vector<HostTensor>& before, Placement placement) {
  Arguments a;
  int64_t total = 0;
  for (const auto& t : before) {
    a.extents.push_back(extent_of(t, placement));
    a.offsets.push_back(total);
    total += round_up(a.extents.back().bytes, 256);
  }
  if (placement == Placement::canaried) {
    a.given = cuda::DeviceBuffer(total), a.used = cuda::DeviceBuffer(total),
    a.first = cuda::DeviceBuffer(total);
    a.given.fill(stream, 0xCD);
  }
  for (size_t i = 0; i < before.size(); ++i) {
    const Extent e = a.extents[i];
    const uint8_t* source = before[i].memory().as<uint8_t>() + e.begin;
    uint8_t* memory;
    if (placement == Placement::canaried) {
      memory = a.used.as<uint8_t>() + a.offsets[i];
      cuda::expect_success(
          cudaMemcpyAsync(a.given.as<uint8_t>() + a.offsets[i], source, static_cast<size_t>(e.bytes),
                          cudaMemcpyHostToDevice, stream.get()),
          "copying arguments to the GPU");
    } else {
      a.exact.emplace_back(e.bytes);
      memory = a.exact.back().as<uint8_t>();
      if (e.bytes) a.exact.back().copy_from_host(stream, source, e.bytes);
    }
    a.views.push_back(device_view(before[i], memory, e.begin));
  }
  return a;
}

void copy_on_device(const cuda::Stream& stream, const cuda::DeviceBuffer& to,
                    const cuda::DeviceBuffer& from) {
  cuda::expect_success(cudaMemcpyAsync(to.data(), from.data(), static_cast<size_t>(from.bytes()),
                                       cudaMemcpyDeviceToDevice, stream.get()),
                       "copying arguments on the GPU");
}

}  // namespace

DeviceRun run_on_device(const cuda::Stream& stream, const harness::OpCase& c,
                        const std::vector<HostTensor>& before, std::vector<HostTensor> after,
                        Placement placement, int64_t repeats) {
  const Context ctx = cuda::context_on(stream);
  Arguments a = place(stream, before, placement);
  DeviceRun run{.after = std::move(after)};

  if (placement == Placement::canaried) copy_on_device(stream, a.used, a.given);
  c.call(ctx, a.views);
  stream.wait();
  for (size_t i = 0; i < before.size(); ++i) {
    const Extent e = a.extents[i];
    if (e.bytes == 0) continue;
    uint8_t* target = run.after[i].memory().as<uint8_t>() + e.begin;
    const uint8_t* source =
        placement == Placement::canaried ? a.used.as<uint8_t>() + a.offsets[i] : a.exact[i].as<uint8_t>();
    cuda::expect_success(cudaMemcpy(target, source, static_cast<size_t>(e.bytes), cudaMemcpyDeviceToHost),
                         "copying results from the GPU");
  }
  if (placement == Placement::exact || repeats == 0) return run;

  cuda::DeviceBuffer counter(256);
  counter.fill(stream, 0);
  copy_on_device(stream, a.first, a.used);
  for (; run.repeats < repeats; ++run.repeats) {
    copy_on_device(stream, a.used, a.given);
    c.call(ctx, a.views);
    count_differences(ctx, a.used.data(), a.first.data(), a.used.bytes(), counter.as<uint32_t>());
  }
  counter.copy_to_host(stream, &run.differing_words, sizeof run.differing_words);
  return run;
}

}  // namespace octavo::gpu
