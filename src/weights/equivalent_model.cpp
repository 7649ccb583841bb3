#include "weights/equivalent_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <numbers>

#include "core/error.h"
#include "core/thread_pool.h"
#include "formats/atomic_file.h"
#include "formats/gguf_model.h"
#include "formats/in_quotes.h"
#include "formats/safetensors_writer.h"
#include "weights/checkpoint_writer.h"
#include "weights/quantization_config.h"
#include "weights/widen.h"

namespace octavo {
namespace fs = std::filesystem;
namespace {

using Vector = std::vector<float>;

// What a tensor is to the residual stream.
enum class Role {
  embedding,
  attention_norm,
  ffn_norm,
  final_norm,
  reads_attention,
  reads_ffn,
  value,
  out,
  down,
  up,
  head,
  other
};

struct Kind {
  std::string_view suffix;
  Role role;
};
constexpr Kind kKinds[] = {{"model.embed_tokens", Role::embedding},
                           {".input_layernorm", Role::attention_norm},
                           {".post_attention_layernorm", Role::ffn_norm},
                           {"model.norm", Role::final_norm},
                           {".self_attn.q_proj", Role::reads_attention},
                           {".self_attn.k_proj", Role::reads_attention},
                           {".self_attn.v_proj", Role::value},
                           {".self_attn.qkv_proj", Role::reads_attention},
                           {".self_attn.o_proj", Role::out},
                           {".mlp.gate_proj", Role::reads_ffn},
                           {".mlp.up_proj", Role::up},
                           {".mlp.gate_up_proj", Role::reads_ffn},
                           {".mlp.down_proj", Role::down},
                           {".self_attn.q_norm", Role::other},
                           {".self_attn.k_norm", Role::other},
                           {"lm_head", Role::head}};

struct Place {
  Role role;
  std::string layer;  // "model.layers.3"; empty outside layers
  bool bias;
};

// One tensor in memory: [rows, columns]; a vector is one row.
struct Matrix {
  Vector values;
  int64_t rows = 1, columns = 0;
  float* row(int64_t r) { return values.data() + r * columns; }
};

bool reads_stream(Role r) {
  return r == Role::reads_attention || r == Role::value || r == Role::reads_ffn || r == Role::up ||
         r == Role::head;
}
bool reads_attention_norm(Role r) { return r == Role::reads_attention || r == Role::value; }

// The source's files and the target's one.
class Rewriter {
 public:
  Rewriter(const fs::path& from, const char* flag)
      : from_(from), files_(TensorFolder::open(from)), flag_(flag) {
    const ConfigObject config = read_model_config(from);
    if (read_quantization_config(config).present())
      config.fail("quantization_config", std::string("none: ") + flag + " takes a model of floats");
    config_ = config.json();
    for (const TensorInfo* t : files_.tensors())
      if (!t->name.ends_with(".rotary_emb.inv_freq")) tensors_.push_back(t), place_of(*t);
  }

  const std::vector<const TensorInfo*>& tensors() const { return tensors_; }
  nlohmann::json& config() { return config_; }
  bool has(const std::string& name) const { return files_.find(name) != nullptr; }

  Place place_of(const TensorInfo& t) const {
    const size_t dot = t.name.rfind('.');
    const std::string_view module = std::string_view(t.name).substr(0, dot);
    const std::string_view last = dot == t.name.npos ? "" : std::string_view(t.name).substr(dot);
    for (const Kind& k : kKinds)
      if ((last == ".weight" || last == ".bias") &&
          (k.suffix[0] == '.' ? module.ends_with(k.suffix) : module == k.suffix))
        return {k.role,
                k.suffix[0] == '.' ? std::string(module.substr(0, module.size() - k.suffix.size())) : "",
                last == ".bias"};
    throw Error(ErrorKind::bad_model,
                fmt::format("{}: tensor {} is none of a Llama kind of model, which {} needs",
                            files_.path_of(t).string(), in_quotes(t.name), flag_));
  }
  Matrix load(const TensorInfo& t) {
    Matrix m{read_as_floats(files_, t)};
    m.columns = t.shape.empty() ? 1 : t.shape.back();
    m.rows = m.columns > 0 ? static_cast<int64_t>(m.values.size()) / m.columns : 0;
    return m;
  }
  Vector vector(const std::string& name) { return read_as_floats(files_, files_.at(name)); }

  // Calls edit(place, matrix) for every tensor and writes what it leaves; `also` are more tensors to write.
  template <class Edit>
  void write(const fs::path& to, const TensorProgress& progress, Edit&& edit,
             const std::vector<TensorSpec>& also = {}) {
    std::vector<TensorSpec> specs = also;
    for (const TensorInfo* t : tensors_) specs.push_back({t->name, "F32", t->shape});
    if (!fs::create_directories(to)) throw Error(ErrorKind::runtime, to.string() + ": exists already");
    try {
      SafetensorsWriter writer(to / "model.safetensors", specs);
      int64_t done = 0;
      for (const TensorInfo* t : tensors_) {
        Matrix m = load(*t);
        edit(*t, place_of(*t), m, writer);
        writer.append(t->name, m.values.data(), static_cast<int64_t>(m.values.size()) * 4);
        done += t->bytes();
        if (progress) progress(done, files_.total_bytes());
      }
      writer.commit();
      if (!files_.gguf())
        for (const auto& entry : fs::directory_iterator(files_.folder()))
          if (entry.is_regular_file() && is_side_file(entry.path().filename()))
            fs::copy_file(entry.path(), to / entry.path().filename());
      config_["dtype"] = "float32";
      config_.erase("torch_dtype");
      write_file_atomically(to / "config.json", config_.dump(2) + "\n");
    } catch (...) {
      std::error_code ignored;
      fs::remove_all(to, ignored);
      throw;
    }
  }

 private:
  fs::path from_;
  TensorFolder files_;
  const char* flag_;
  nlohmann::json config_;
  std::vector<const TensorInfo*> tensors_;
};

void multiply(float* x, const Vector& by) {
  for (size_t i = 0; i < by.size(); ++i) x[i] *= by[i];
}

// ---- rotation

class Rotation {
 public:
  explicit Rotation(int64_t width) : signs_(static_cast<size_t>(width)) {
    uint64_t state = 0x9e3779b97f4a7c15;  // splitmix64: the same signs on every run
    for (float& sign : signs_) {
      uint64_t z = state += 0x9e3779b97f4a7c15;
      z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9, z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
      sign = (z ^ (z >> 31)) & 1 ? 1.0f : -1.0f;
    }
  }
  int64_t width() const { return static_cast<int64_t>(signs_.size()); }
  void rotate(float* x) const {  // x: [width]
    multiply(x, signs_);
    hadamard_cosine_transform(x, width());
  }
  void rotate_rows(const Context& ctx, Matrix& m) const {
    parallel_for(ctx.pool, m.rows, 1, [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) rotate(m.row(r));
    });
  }

 private:
  Vector signs_;
};

// Every column of m in consecutive pieces of `rows` rows, by `apply` on each piece.
template <class Apply>
void transform_columns(const Context& ctx, Matrix& m, int64_t rows, Apply&& apply) {
  parallel_for(ctx.pool, m.columns, 1, [&](int64_t begin, int64_t end) {
    Vector piece(static_cast<size_t>(rows));
    for (int64_t c = begin; c < end; ++c)
      for (int64_t first = 0; first < m.rows; first += rows) {
        for (int64_t r = 0; r < rows; ++r) piece[static_cast<size_t>(r)] = m.row(first + r)[c];
        apply(piece.data());
        for (int64_t r = 0; r < rows; ++r) m.row(first + r)[c] = piece[static_cast<size_t>(r)];
      }
  });
}

// ---- smoothing

Vector smoothing_scale(const Vector& peaks, const Vector& weight_peaks, double alpha) {
  Vector scale(peaks.size(), 1.0f);
  for (size_t j = 0; j < peaks.size(); ++j) {
    if (!(peaks[j] > 0) || !(weight_peaks[j] > 0))
      continue;  // a feature that never speaks, or that nobody hears
    const double s = std::pow(peaks[j], alpha) / std::pow(weight_peaks[j], 1 - alpha);
    scale[j] = static_cast<float>(std::clamp(s, 1e-5, 1e5));
  }
  return scale;
}

std::string first_layer(const std::string& joined) { return joined.substr(0, joined.find('+')); }

}  // namespace

void hadamard_cosine_transform(float* x, int64_t width) {
  int64_t odd = width, power = 1;
  while (odd % 2 == 0) odd /= 2, power *= 2;
  // x as a matrix [odd][power]: Hadamard along rows ...
  const float shrink = 1 / std::sqrt(static_cast<float>(power));
  for (int64_t o = 0; o < odd; ++o) {
    float* row = x + o * power;
    for (int64_t half = 1; half < power; half *= 2)
      for (int64_t first = 0; first < power; first += 2 * half)
        for (int64_t i = first; i < first + half; ++i) {
          const float a = row[i], b = row[i + half];
          row[i] = a + b, row[i + half] = a - b;
        }
    for (int64_t i = 0; i < power; ++i) row[i] *= shrink;
  }
  if (odd == 1) return;
  // ... and the orthonormal cosine transform along columns.
  const auto n = static_cast<double>(odd);
  std::vector<double> cosine(static_cast<size_t>(odd * odd)), column(static_cast<size_t>(odd));
  for (int64_t k = 0; k < odd; ++k)
    for (int64_t i = 0; i < odd; ++i)
      cosine[static_cast<size_t>(k * odd + i)] =
          std::sqrt((k == 0 ? 1 : 2) / n) *
          std::cos(std::numbers::pi * (static_cast<double>(i) + 0.5) * static_cast<double>(k) / n);
  for (int64_t c = 0; c < power; ++c) {
    for (int64_t i = 0; i < odd; ++i) column[static_cast<size_t>(i)] = x[i * power + c];
    for (int64_t k = 0; k < odd; ++k) {
      double sum = 0;
      for (int64_t i = 0; i < odd; ++i)
        sum += cosine[static_cast<size_t>(k * odd + i)] * column[static_cast<size_t>(i)];
      x[k * power + c] = static_cast<float>(sum);
    }
  }
}

void write_rotated_model(const fs::path& from, const fs::path& to, const Context& ctx,
                         const TensorProgress& progress) {
  Rewriter model(from, "--rotate");
  const ConfigObject config = read_model_config(from);
  const int64_t hidden = config.integer("hidden_size"), heads = config.integer("num_attention_heads");
  const int64_t head_dim = config.integer_or("head_dim", hidden / heads);
  const Rotation rotation(hidden);
  const auto expect = [&](const TensorInfo& t, const char* what, int64_t got, int64_t size,
                          bool multiple = false) {
    if (multiple ? got > 0 && got % size == 0 : got == size) return;
    throw Error(ErrorKind::bad_model,
                fmt::format("{}: tensor {} is {}: {} {}, expected {}{}", from.string(), in_quotes(t.name),
                            t.describe(), got, what, multiple ? "a multiple of " : "", size));
  };
  // A tied head reads the normalised stream, the embedding makes the stream: they part.
  const bool tied = !model.has("lm_head.weight");
  std::vector<TensorSpec> also;
  for (const TensorInfo* t : model.tensors())
    if (tied && model.place_of(*t).role == Role::embedding)
      also.push_back({"lm_head.weight", "F32", t->shape});
  model.config()["tie_word_embeddings"] = false;
  const auto fold_norm = [&](Matrix& m, const std::string& norm, const TensorInfo& t) {
    const Vector weight = model.vector(norm);
    expect(t, "columns", m.columns, static_cast<int64_t>(weight.size()));
    for (int64_t r = 0; r < m.rows; ++r) multiply(m.row(r), weight);
  };
  const auto norm_of = [](const Place& p) {
    return p.role == Role::head           ? std::string("model.norm.weight")
           : reads_attention_norm(p.role) ? p.layer + ".input_layernorm.weight"
                                          : p.layer + ".post_attention_layernorm.weight";
  };
  const auto hadamard = [&](float* x) { hadamard_cosine_transform(x, head_dim); };

  model.write(
      to, progress,
      [&](const TensorInfo& t, const Place& p, Matrix& m, SafetensorsWriter& writer) {
        if (p.role == Role::attention_norm || p.role == Role::ffn_norm || p.role == Role::final_norm) {
          std::fill(m.values.begin(), m.values.end(), 1.0f);
        } else if (p.role == Role::embedding) {
          expect(t, "columns", m.columns, hidden);
          if (tied) {
            Matrix head = m;
            fold_norm(head, "model.norm.weight", t);
            rotation.rotate_rows(ctx, head);
            writer.append("lm_head.weight", head.values.data(), static_cast<int64_t>(head.values.size()) * 4);
          }
          rotation.rotate_rows(ctx, m);
        } else if (p.bias) {
          if (p.role == Role::out || p.role == Role::down)
            expect(t, "elements", m.columns, hidden), rotation.rotate_rows(ctx, m);
          if (p.role == Role::value)
            for (int64_t at = 0; at + head_dim <= m.columns; at += head_dim) hadamard(m.row(0) + at);
        } else if (reads_stream(p.role)) {
          expect(t, "columns", m.columns, hidden);
          fold_norm(m, norm_of(p), t);
          rotation.rotate_rows(ctx, m);
          if (p.role == Role::value)
            expect(t, "rows", m.rows, head_dim, true), transform_columns(ctx, m, head_dim, hadamard);
        } else if (p.role == Role::out || p.role == Role::down) {
          expect(t, "rows", m.rows, hidden);
          transform_columns(ctx, m, hidden, [&](float* x) { rotation.rotate(x); });
          if (p.role == Role::out && model.has(p.layer + ".self_attn.v_proj.weight")) {
            expect(t, "columns", m.columns, head_dim, true);
            for (int64_t r = 0; r < m.rows; ++r)
              for (int64_t at = 0; at < m.columns; at += head_dim) hadamard(m.row(r) + at);
          }
        }
      },
      also);
}

void write_smoothed_model(const fs::path& from, const fs::path& to,
                          const std::unordered_map<std::string, Vector>& peaks, double alpha,
                          const TensorProgress& progress) {
  Rewriter model(from, "--smooth");
  std::unordered_map<std::string, Vector> peaks_of;  // by the first layer of a joined one
  for (const auto& [joined, values] : peaks) peaks_of[first_layer(joined)] = values;

  // The features that a weight reads: of the norm in front, or of up_proj; empty where smoothing does not apply.
  const auto source_of = [&](const Place& p) -> std::string {
    if (reads_attention_norm(p.role)) return p.layer + ".input_layernorm";
    if (p.role == Role::reads_ffn || p.role == Role::up) return p.layer + ".post_attention_layernorm";
    if (p.role == Role::down)
      for (const char* up : {".mlp.up_proj", ".mlp.gate_up_proj"})
        if (model.has(p.layer + up + ".weight")) return p.layer + up;
    return {};
  };
  std::unordered_map<std::string, Vector> weight_peaks, activation_peaks, scales;  // by source
  for (const TensorInfo* t : model.tensors()) {
    const Place p = model.place_of(*t);
    const std::string source = p.bias ? "" : source_of(p);
    if (source.empty()) continue;
    Matrix m = model.load(*t);
    Vector& largest = weight_peaks[source];
    largest.resize(static_cast<size_t>(m.columns));
    for (int64_t r = 0; r < m.rows; ++r)
      for (size_t j = 0; j < largest.size(); ++j) largest[j] = std::max(largest[j], std::abs(m.row(r)[j]));
    const std::string module = t->name.substr(0, t->name.rfind('.'));
    if (const auto found = peaks_of.find(module); found != peaks_of.end())
      activation_peaks[source] = found->second;
  }
  for (const auto& [source, largest] : weight_peaks) {
    const auto found = activation_peaks.find(source);
    if (found == activation_peaks.end() || found->second.size() != largest.size())
      throw Error(ErrorKind::usage, fmt::format("--smooth: no activations were measured behind {}", source));
    scales[source] = smoothing_scale(found->second, largest, alpha);
  }

  model.write(to, progress, [&](const TensorInfo& t, const Place& p, Matrix& m, SafetensorsWriter&) {
    if (const auto reads = scales.find(p.bias ? "" : source_of(p)); reads != scales.end())
      for (int64_t r = 0; r < m.rows; ++r) multiply(m.row(r), reads->second);
    const auto makes = scales.find(t.name.substr(0, t.name.rfind('.')));
    if (makes == scales.end()) return;
    // Row j of up_proj makes feature j, as element j of a norm or a bias does; a fused matrix has the rows of gate in front.
    const Vector& s = makes->second;
    const bool matrix = !p.bias && (p.role == Role::up || p.role == Role::reads_ffn);
    const int64_t width = matrix ? m.columns : 1, features = static_cast<int64_t>(s.size()),
                  first = static_cast<int64_t>(m.values.size()) / width - features;
    for (int64_t j = 0; j < features; ++j)
      for (int64_t c = 0; c < width; ++c)
        m.values[static_cast<size_t>((first + j) * width + c)] /= s[static_cast<size_t>(j)];
  });
}

}  // namespace octavo
