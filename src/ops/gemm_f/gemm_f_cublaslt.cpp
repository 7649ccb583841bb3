// gemm_f by cuBLASLt. In its column-major eyes, y^T [N, M] = w^T [K, N]^T times x^T [K, M]; fp32 sums, no TF32.
// What the library chooses for a call is kept, so that the same call takes the same algorithm and 5 us less.
#if defined(OCTAVO_CUDA)
#include <dlfcn.h>
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <mutex>
#include <optional>
#include <tuple>

#include "core/workspace.h"
#include "cuda/device.h"
#include "cuda/launch.h"
#include "ops/gemm_f/gemm_f_cublaslt_abi.h"
#include "ops/gemm_f/gemm_f_cuda.h"

namespace octavo {
namespace {

using namespace cublaslt;

constexpr auto kOp = "gemm_f";
constexpr int64_t kScratchBytes = 32 << 20;  // what NVIDIA advises for Hopper
constexpr size_t kMostPlans = 4096;

void* open_library() {
  for (const char* name : {"libcublasLt.so.13", "libcublasLt.so.12", "/usr/local/cuda/lib64/libcublasLt.so"})
    if (void* library = dlopen(name, RTLD_NOW | RTLD_LOCAL)) return library;
  throw Error(
      ErrorKind::no_device,
      fmt::format("{}: cuBLASLt is not here ({}); install the CUDA toolkit or put the folder of "
                  "libcublasLt.so.13 on LD_LIBRARY_PATH (PyPI: nvidia-cublas; importing torch is enough)",
                  kOp, dlerror()));
}

template <class Function>
void find(void* library, Function& function, const char* name) {
  function = reinterpret_cast<Function>(dlsym(library, name));
  if (!function) throw Error(ErrorKind::no_device, fmt::format("{}: cuBLASLt has no {}", kOp, name));
}

const Library& library() {
  static const Library loaded = [] {
    void* from = open_library();
    Library l;
    find(from, l.create, "cublasLtCreate");
    find(from, l.desc_create, "cublasLtMatmulDescCreate");
    find(from, l.desc_set, "cublasLtMatmulDescSetAttribute");
    find(from, l.desc_destroy, "cublasLtMatmulDescDestroy");
    find(from, l.layout_create, "cublasLtMatrixLayoutCreate");
    find(from, l.layout_destroy, "cublasLtMatrixLayoutDestroy");
    find(from, l.preference_create, "cublasLtMatmulPreferenceCreate");
    find(from, l.preference_set, "cublasLtMatmulPreferenceSetAttribute");
    find(from, l.preference_destroy, "cublasLtMatmulPreferenceDestroy");
    find(from, l.choose, "cublasLtMatmulAlgoGetHeuristic");
    find(from, l.matmul, "cublasLtMatmul");
    return l;
  }();
  return loaded;
}

void expect(int status, const char* what) {
  if (status == 0) return;
  throw Error(ErrorKind::runtime, fmt::format("{}: cuBLASLt: {} failed with status {}", kOp, what, status));
}

// NOTE: handles live as long as the process; cuBLASLt's may be used by many threads.
Handle handle_of(int device) {
  static std::mutex mutex;
  static Handle handles[cuda::kMaxDevices] = {};
  const std::lock_guard lock(mutex);
  if (!handles[device]) expect(library().create(&handles[device]), "cublasLtCreate");
  return handles[device];
}

cudaDataType_t type_of(DType t) {
  return t == DType::f16 ? CUDA_R_16F : t == DType::bf16 ? CUDA_R_16BF : CUDA_R_32F;
}

struct Operand {
  const void* data;
  DType type;
  int64_t rows, columns, leading;  // column-major

  uint32_t alignment() const {  // 256 bytes at most, which is what the library looks at
    const auto address = reinterpret_cast<uintptr_t>(data) | 256;
    return static_cast<uint32_t>(address & -address);
  }
  auto key() const { return std::tuple(type, rows, columns, leading, alignment()); }
};

struct Product {
  Operand w, x, y;
  const float* bias;  // of f32 products; null otherwise
  int64_t scratch_bytes;

  auto key(int device) const {
    return std::tuple(device, w.key(), x.key(), y.key(), bias != nullptr, scratch_bytes);
  }
};

// A call's description and the algorithm for it; null descriptions are those of a product that the library cannot do.
struct Plan {
  Desc* desc = nullptr;
  Layout *w = nullptr, *x = nullptr, *y = nullptr;
  std::optional<Algorithm> algorithm;

  Plan(int device, const Product& p) {
    const Library& lt = library();
    expect(lt.desc_create(&desc, kCompute32F, CUDA_R_32F), "cublasLtMatmulDescCreate");
    expect(lt.desc_set(desc, kDescTransA, &kOpT, sizeof kOpT), "setting the transposition of w");
    if (p.bias)
      expect(lt.desc_set(desc, kDescEpilogue, &kEpilogueBias, sizeof kEpilogueBias), "setting the bias");
    w = layout_of(p.w), x = layout_of(p.x), y = layout_of(p.y);

    Preference* preference = nullptr;
    expect(lt.preference_create(&preference), "cublasLtMatmulPreferenceCreate");
    const auto prefer = [&](int attribute, auto value) {
      expect(lt.preference_set(preference, attribute, &value, sizeof value), "setting a preference");
    };
    prefer(kPrefWorkspaceBytes, static_cast<uint64_t>(p.scratch_bytes));
    prefer(kPrefAlignmentA, p.w.alignment()), prefer(kPrefAlignmentB, p.x.alignment());
    prefer(kPrefAlignmentC, p.y.alignment()), prefer(kPrefAlignmentD, p.y.alignment());
    Choice choice;
    int found = 0;
    const int status = lt.choose(handle_of(device), desc, w, x, y, y, preference, 1, &choice, &found);
    (void)lt.preference_destroy(preference);
    if (status == 0 && found == 1 && choice.status == 0) algorithm = choice.algorithm;
  }
  Plan(Plan&& o) noexcept
      : desc(std::exchange(o.desc, nullptr)),
        w(std::exchange(o.w, nullptr)),
        x(std::exchange(o.x, nullptr)),
        y(std::exchange(o.y, nullptr)),
        algorithm(o.algorithm) {}
  ~Plan() {
    for (Layout* layout : {w, x, y})
      if (layout) (void)library().layout_destroy(layout);
    if (desc) (void)library().desc_destroy(desc);
  }

 private:
  static Layout* layout_of(const Operand& o) {
    Layout* layout = nullptr;
    expect(library().layout_create(&layout, type_of(o.type), static_cast<uint64_t>(o.rows),
                                   static_cast<uint64_t>(o.columns), o.leading),
           "cublasLtMatrixLayoutCreate");
    return layout;
  }
};

// False: the library has no algorithm for this product.
bool multiply(const Context& ctx, const Product& p, void* scratch) {
  static std::mutex mutex;
  static auto* plans =
      new std::map<decltype(p.key(0)), Plan>;  // NOTE: never destroyed: the library may be gone first
  const int device = cuda::current_device();
  const std::lock_guard lock(mutex);
  if (plans->size() >= kMostPlans) plans->clear();
  Plan& plan = plans->try_emplace(p.key(device), device, p).first->second;
  if (!plan.algorithm) return false;
  if (p.bias)
    expect(library().desc_set(plan.desc, kDescBiasPointer, &p.bias, sizeof p.bias), "setting the bias");
  const float one = 1.0f, zero = 0.0f;
  expect(library().matmul(handle_of(device), plan.desc, &one, p.w.data, plan.w, p.x.data, plan.x, &zero,
                          p.y.data, plan.y, const_cast<void*>(p.y.data), plan.y, &*plan.algorithm, scratch,
                          static_cast<size_t>(p.scratch_bytes), cuda::stream_of(ctx, "gemm_f_cublaslt")),
         "cublasLtMatmul");
  return true;
}

// 16-bit outputs get their f32 bias behind the product, which then goes to the workspace: cuBLASLt would round the bias.
bool adds_bias_after(const GemmFArgs& a) { return a.bias && a.y.dtype() != DType::f32; }

int64_t product_bytes(const GemmFArgs& a) {
  return adds_bias_after(a) ? round_up(a.y.numel() * 4, 256) + kWorkspaceAlignment : 0;
}

Operand operand(const ConstTensor& t) {
  return {t.data(), t.dtype(), t.dim(1), t.dim(0), std::max(t.stride(0), t.dim(1))};
}

}  // namespace

bool gemm_f_fits_cublaslt(const GemmFArgs& a, const DeviceFacts&) {
  const auto rows_apart = [](const ConstTensor& t) { return t.dim(0) <= 1 || t.stride(0) >= t.dim(1); };
  const DType x = a.x.dtype(), y = a.y.dtype();
  return a.y.numel() > 0 && a.x.dim(1) > 0 && a.w.dtype() == x && (y == x || y == DType::f32) &&
         rows_apart(a.x) && rows_apart(a.w) && rows_apart(a.y);
}

int64_t gemm_f_cublaslt_workspace_bytes(const Context&, const GemmFArgs& a) {
  return product_bytes(a) + kScratchBytes + kWorkspaceAlignment;
}

// NOTE: the library's scratch is what the workspace has behind the product; without any it takes slower algorithms.
void gemm_f_cublaslt(const Context& ctx, const GemmFArgs& a) {
  if (product_bytes(a) > 0) expect_workspace(kOp, ctx, product_bytes(a));
  auto* start = static_cast<char*>(ctx.workspace.data() ? workspace_start(ctx) : nullptr);
  const auto* end = static_cast<char*>(ctx.workspace.data()) + (start ? ctx.workspace.numel() : 0);
  Product p{.w = operand(a.w), .x = operand(a.x), .y = operand(a.y), .bias = nullptr, .scratch_bytes = 0};
  const bool adds_bias = adds_bias_after(a);
  if (adds_bias) {
    p.y = {start, DType::f32, a.y.dim(1), a.y.dim(0), a.y.dim(1)};
    start += round_up(a.y.numel() * 4, 256);
  } else if (a.bias) {
    p.bias = a.bias.as<float>();
  }
  p.scratch_bytes = start ? std::clamp<int64_t>(end - start, 0, kScratchBytes) : 0;
  if (!multiply(ctx, p, start)) return gemm_f_any(ctx, a);
  if (adds_bias) gemm_f_add_bias(ctx, static_cast<const float*>(p.y.data), a);
}

}  // namespace octavo
#endif
