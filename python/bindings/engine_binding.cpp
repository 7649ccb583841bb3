// The engine: a model, and text that comes out of it piece by piece.
#include <nanobind/stl/optional.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>

#include "bindings.h"
#include "engine/engine.h"

namespace octavo::python {

namespace nb = nanobind;
namespace {

// An engine and the facts that its users share. One sequence at a time.
struct Model {
  Model(const std::string& folder, const EngineOptions& options)
      : engine(std::make_unique<Engine>(Engine::load(folder, options))) {}
  // NOTE: a forked child has the engine but not its threads; to wait for them at the end would last for ever.
  ~Model() {
    if (getpid() != process) (void)engine.release();
  }
  std::unique_ptr<Engine> engine;
  std::atomic<bool> busy{false};
  pid_t process = getpid();
};

// A generation on a thread of its own, which never touches Python: pieces of text wait here until they are asked for.
class TextStream {
 public:
  TextStream(std::shared_ptr<Model> model, std::vector<int32_t> prompt, GenerateOptions options)
      : model_(std::move(model)), prompt_(std::move(prompt)), options_(std::move(options)) {
    if (model_->busy.exchange(true))
      throw Error(
          ErrorKind::usage,
          "generate: this model is generating already; finish or close that stream, or load a second LLM");
    try {
      thread_ = std::make_unique<std::thread>([this] { work(); });
    } catch (...) {
      model_->busy = false;
      throw;
    }
  }
  ~TextStream() { close(); }
  TextStream(const TextStream&) = delete;

  // The next piece of text, or nothing at the end. Waits without the interpreter lock; signals are looked at ten times a
  // second, and an interrupt cancels the generation.
  std::optional<std::string> next() {
    expect_own_process();
    for (;;) {
      {
        nb::gil_scoped_release unlocked;
        std::unique_lock lock(mutex_);
        changed_.wait_for(lock, std::chrono::milliseconds(100), [&] { return !text_.empty() || done_; });
        if (!text_.empty()) return std::exchange(text_, {});
        if (done_) break;
      }
      if (PyErr_CheckSignals() != 0) {
        close();
        throw nb::python_error();
      }
    }
    if (PyErr_CheckSignals() != 0) throw nb::python_error();
    join();
    if (failure_) std::rethrow_exception(failure_);
    return {};
  }

  // Stops after the token under way; what was not asked for is dropped.
  void close() {
    cancelled_ = true;
    join();
  }

  // After the end. Throws while it runs.
  const Generation& result() const {
    if (thread_ || failure_) throw Error(ErrorKind::usage, "result: the stream has not ended");
    return result_;
  }

 private:
  void work() {
    try {
      result_ = model_->engine->generate(prompt_, options_, [this](std::string_view piece) {
        const std::lock_guard lock(mutex_);
        text_ += piece;
        changed_.notify_one();
        return !cancelled_;
      });
    } catch (...) {
      failure_ = std::current_exception();
    }
    const std::lock_guard lock(mutex_);
    done_ = true;
    changed_.notify_one();
  }

  void join() {
    if (!thread_) return;
    if (getpid() != process_) {
      (void)
          thread_.release();  // a forked child: the thread stayed with its parent, the model stays busy here
      return;
    }
    {
      nb::gil_scoped_release unlocked;
      thread_->join();
    }
    thread_.reset();
    model_->busy = false;
  }

  void expect_own_process() const {
    if (thread_ && getpid() != process_)
      throw Error(
          ErrorKind::usage,
          "generate: this stream was started before a fork and goes on in the parent process only; start "
          "another one here");
  }

  std::shared_ptr<Model> model_;
  std::vector<int32_t> prompt_;
  GenerateOptions options_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::string text_;
  bool done_ = false;
  std::atomic<bool> cancelled_{false};
  Generation result_;
  std::exception_ptr failure_;
  std::unique_ptr<std::thread> thread_;  // until it is joined
  pid_t process_ = getpid();
};

std::shared_ptr<Model> load_model(const std::string& folder, const std::string& quantization,
                                  const std::string& kv_cache_dtype, int64_t context, int64_t prefill_chunk,
                                  int threads, const std::string& isa, int64_t memory_budget,
                                  const std::string& tokenizer) {
  EngineOptions options;
  options.quantization = parse_quantization(quantization);
  if (kv_cache_dtype == "f32") options.kv_dtype = DType::f32;
  if (kv_cache_dtype == "f16") options.kv_dtype = DType::f16;
  if (kv_cache_dtype == "int8") options.kv_dtype = DType::i8;
  options.context = context, options.prefill_chunk = prefill_chunk, options.threads = threads;
  options.isa = parse_isa(isa), options.memory_budget = memory_budget, options.tokenizer = tokenizer;
  nb::gil_scoped_release unlocked;
  return std::make_shared<Model>(folder, options);
}

// The model's generation_config.json, as far as it says something.
nb::dict defaults_of(const std::string& folder) {
  const GenerationDefaults d = GenerationDefaults::load(folder);
  nb::dict said;
  const auto add = [&](const char* name, const auto& value) {
    if (value) said[name] = *value;
  };
  add("temperature", d.temperature), add("top_k", d.top_k), add("top_p", d.top_p), add("min_p", d.min_p);
  add("repeat_penalty", d.repetition_penalty);
  return said;
}

std::shared_ptr<TextStream> start_stream(const std::shared_ptr<Model>& model, std::vector<int32_t> prompt,
                                         int64_t max_tokens, float temperature, int top_k, float top_p,
                                         float min_p, float repeat_penalty, uint64_t seed,
                                         std::vector<std::string> stop, bool ignore_eos) {
  GenerateOptions options;
  options.max_tokens = max_tokens, options.seed = seed, options.stop = std::move(stop);
  options.ignore_eos = ignore_eos;
  options.sampling = {temperature, top_k, top_p, min_p, repeat_penalty};
  return std::make_shared<TextStream>(model, std::move(prompt), std::move(options));
}

}  // namespace

void bind_engine(nb::module_& m) {
  nb::class_<Generation>(m, "Generation", "What a generation made.")
      .def_prop_ro("text", [](const Generation& g) { return nb::bytes(g.text.data(), g.text.size()); })
      .def_ro("ids", &Generation::ids)
      .def_prop_ro("finish_reason", [](const Generation& g) { return name_of(g.finish); })
      .def_prop_ro("prompt_tokens", [](const Generation& g) { return g.timings.prompt_tokens; })
      .def_prop_ro("generated_tokens", [](const Generation& g) { return g.timings.generated_tokens; })
      .def_prop_ro("prefill_tokens_per_s",
                   [](const Generation& g) { return g.timings.prefill_tokens_per_s(); })
      .def_prop_ro("decode_tokens_per_s",
                   [](const Generation& g) { return g.timings.decode_tokens_per_s(); });
  nb::class_<TextStream>(m, "TextStream", "A generation under way.")
      .def("next",
           [](TextStream& s) -> nb::object {
             const std::optional<std::string> piece = s.next();
             if (!piece) return nb::none();
             return nb::bytes(piece->data(), piece->size());
           })
      .def("close", &TextStream::close)
      .def("result", &TextStream::result, nb::rv_policy::reference_internal);
  nb::class_<Model>(m, "Model", "A loaded model with its tokenizer.")
      .def(
          "encode", [](const Model& model, const std::string& text) { return model.engine->encode(text); },
          nb::arg("text"))
      .def_prop_ro("options", [](const Model& model) {
        const EngineOptions& o = model.engine->options();
        nb::dict d;
        d["context"] = o.context, d["quantization"] = name_of(o.quantization), d["threads"] = o.threads;
        d["isa"] = name_of(o.isa), d["kv_cache_dtype"] = name_of(*o.kv_dtype),
        d["prefill_chunk"] = o.prefill_chunk;
        d["weight_bytes"] = model.engine->model().weight_bytes();
        d["kv_bytes"] = model.engine->cache_shape().bytes();
        return d;
      });
  m.def("load_model", &load_model, nb::arg("folder"), nb::arg("quantization"), nb::arg("kv_cache_dtype"),
        nb::arg("context"), nb::arg("prefill_chunk"), nb::arg("threads"), nb::arg("isa"),
        nb::arg("memory_budget"), nb::arg("tokenizer"));
  m.def("generation_defaults", &defaults_of, nb::arg("folder"));
  m.def("start_stream", &start_stream, nb::arg("model"), nb::arg("prompt"), nb::arg("max_tokens"),
        nb::arg("temperature"), nb::arg("top_k"), nb::arg("top_p"), nb::arg("min_p"),
        nb::arg("repeat_penalty"), nb::arg("seed"), nb::arg("stop"), nb::arg("ignore_eos"));
}

}  // namespace octavo::python
