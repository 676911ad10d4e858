// diffnum::combine: one or two linear combinations of up to eight tensors on the CPU, in one pass over memory.

#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/ops/empty_like.h>
#include <torch/csrc/utils/pybind.h>
#include <torch/library.h>

#include <array>
#include <utility>
#include <vector>

namespace {

constexpr size_t most = 8;  // sources
constexpr int64_t grain = 1 << 15;  // elements that are worth a thread

template <typename T>
struct Pass {
  std::array<T*, 2> targets;
  std::array<const T*, most> sources;
  std::array<at::ArrayRef<double>, 2> weights;
  int64_t size;
};

// A target may be a source, too: an element is read before it is written, and depends on no other.
template <typename T, bool two, size_t... k>
void run(const Pass<T>& pass, std::index_sequence<k...>) {
  at::parallel_for(0, pass.size, grain, [&](int64_t begin, int64_t end) {
    T* const targets[] = {pass.targets[0], pass.targets[1]};
    const T* const sources[] = {pass.sources[k]...};
    const T first[] = {static_cast<T>(pass.weights[0][k])...};
    const T second[] = {static_cast<T>(two ? pass.weights[1][k] : 0)...};
#pragma omp simd
    for (int64_t i = begin; i < end; ++i) {
      const T one = (... + (first[k] * sources[k][i]));
      if constexpr (two) {
        const T other = (... + (second[k] * sources[k][i]));
        targets[1][i] = other;
      }
      targets[0][i] = one;
    }
  });
}

template <typename T, bool two, size_t count = most>
void with_count(const Pass<T>& pass, size_t sources) {
  if constexpr (count > 1) {
    if (sources < count) return with_count<T, two, count - 1>(pass, sources);
  }
  run<T, two>(pass, std::make_index_sequence<count>());
}

void combine(at::TensorList targets, at::TensorList sources, at::ArrayRef<double> first,
             at::ArrayRef<double> second) {
  const auto& like = targets[0];
  const auto rows = targets.size(), count = sources.size();
  TORCH_CHECK(rows <= 2 && count >= 1 && count <= most, "one or two targets and one to eight sources");
  TORCH_CHECK(first.size() == count && second.size() == count, "one weight for each source");
  std::array<at::Tensor, most> copies;  // of sources in another precision or memory format
  AT_DISPATCH_FLOATING_TYPES(like.scalar_type(), "diffnum::combine", [&] {
    Pass<scalar_t> pass{{}, {}, {first, second}, like.numel()};
    for (size_t r = 0; r < rows; ++r) pass.targets[r] = targets[r].mutable_data_ptr<scalar_t>();
    for (size_t k = 0; k < count; ++k) {
      const auto& source = sources[k];
      const bool alike = source.scalar_type() == like.scalar_type() && source.strides() == like.strides();
      TORCH_CHECK(source.sizes() == like.sizes(), "sources must have the shape of the targets");
      if (!alike) copies[k] = at::empty_like(like).copy_(source);
      pass.sources[k] = (alike ? source : copies[k]).const_data_ptr<scalar_t>();
    }
    rows == 1 ? with_count<scalar_t, false>(pass, count) : with_count<scalar_t, true>(pass, count);
  });
}

}  // namespace

TORCH_LIBRARY(diffnum, library) {
  library.def("combine(Tensor(a!)[] targets, Tensor[] sources, float[] first, float[] second) -> ()");
  library.impl("combine", c10::DispatchKey::CPU, combine);
}

// Through the dispatcher, so that tracers see the call; torch.ops would do the same in twice the time.
PYBIND11_MODULE(diffnum_native, module) {
  using Weights = std::vector<std::vector<double>>;
  static const auto operation =
      c10::Dispatcher::singleton().findSchemaOrThrow("diffnum::combine", "").typed<decltype(combine)>();
  module.def(
      "combine",
      [](const std::vector<at::Tensor>& targets, const std::vector<at::Tensor>& sources, const Weights& weights) {
        TORCH_CHECK(!targets.empty() && weights.size() == targets.size(), "one row of weights for each target");
        operation.call(targets, sources, weights.front(), weights.back());
      },
      py::call_guard<py::gil_scoped_release>());
}
