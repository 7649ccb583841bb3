// One AdamW step of many tensors; lists of equal length.
#include <fmt/format.h>

#include <deque>
#include <vector>

#include "bindings.h"
#include "core/check.h"
#include "op_call.h"
#include "ops/adamw/adamw.h"

namespace octavo::python {
namespace {

constexpr const char* kOp = "adamw";
constexpr auto kRead = TensorArgument::Access::read, kWrite = TensorArgument::Access::write;

// The tensors of one list with their names, "tensors[3].grad" as the op calls them.
struct TensorList {
  std::vector<nb::object> owned;  // the list may change while the op runs without the interpreter lock
  std::deque<std::string> names;
  std::deque<TensorArgument> tensors;

  TensorList(const char* part, nb::sequence list, TensorArgument::Access access) {
    for (nb::handle object : list) {
      owned.push_back(nb::borrow(object));
      names.push_back(fmt::format("tensors[{}].{}", names.size(), part));
      if (object.is_none()) fail_argument(kOp, names.back(), "is None, expected a tensor");
      tensors.emplace_back(kOp, names.back().c_str(), object, access);
    }
  }
  octavo::Tensor elements(size_t i) const {
    return tensors[i].rank() <= octavo::Tensor::kMaxRank ? tensors[i].tensor() : tensors[i].volumes();
  }
};

void call_adamw(nb::sequence params_, nb::sequence grads_, nb::sequence exp_avgs_, nb::sequence exp_avg_sqs_,
                nb::handle step_, float lr, float beta1, float beta2, float eps, float weight_decay,
                nb::handle skip_, nb::handle grad_scale_) {
  const TensorList params("param", params_, kWrite), grads("grad", grads_, kRead);
  const TensorList exp_avgs("exp_avg", exp_avgs_, kWrite), exp_avg_sqs("exp_avg_sq", exp_avg_sqs_, kWrite);
  const TensorArgument step(kOp, "step", step_, kWrite), skip(kOp, "skip", skip_),
      grad_scale(kOp, "grad_scale", grad_scale_);
  const size_t count = params.tensors.size();
  for (const auto& [name, list] : {std::pair<const char*, const TensorList*>{"grads", &grads},
                                   {"exp_avgs", &exp_avgs},
                                   {"exp_avg_sqs", &exp_avg_sqs}})
    if (list->tensors.size() != count)
      fail_argument(kOp, name, fmt::format("has {} tensors, params {}", list->tensors.size(), count));
  std::vector<const TensorArgument*> all;
  for (const TensorList* list : {&params, &grads, &exp_avgs, &exp_avg_sqs})
    for (const TensorArgument& t : list->tensors) all.push_back(&t);
  all.insert(all.end(), {&step, &skip, &grad_scale});
  OpCall call(kOp, all);
  std::vector<AdamWTensor> tensors(count);
  for (size_t i = 0; i < count; ++i)
    tensors[i] = {.param = params.elements(i),
                  .grad = grads.elements(i),
                  .exp_avg = exp_avgs.elements(i),
                  .exp_avg_sq = exp_avg_sqs.elements(i)};
  const AdamWArgs args{.tensors = tensors,
                       .lr = lr,
                       .beta1 = beta1,
                       .beta2 = beta2,
                       .eps = eps,
                       .weight_decay = weight_decay,
                       .step = step.tensor(),
                       .skip = skip.tensor(),
                       .grad_scale = grad_scale.tensor()};
  call.run([&](const Context& ctx) { adamw(ctx, args); });
}

}  // namespace

void bind_adamw(nb::module_& m) {
  const auto tensor = [](const char* name) { return nb::arg(name).noconvert().none(); };
  m.def("adamw", &call_adamw, nb::arg("params"), nb::arg("grads"), nb::arg("exp_avgs"),
        nb::arg("exp_avg_sqs"), tensor("step"), nb::arg("lr"), nb::arg("beta1"), nb::arg("beta2"),
        nb::arg("eps"), nb::arg("weight_decay"), tensor("skip"), tensor("grad_scale"));
}

}  // namespace octavo::python
