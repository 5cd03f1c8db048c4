// K training steps of a binary network of linear layers in one call, on a CPU: what `native.py` describes and calls.
//
//   for each batch
//     x_0 = images, x_l = activation(norm_l(x_{l-1} · sign(W_l)ᵀ)), loss = cross entropy of norm_L(x_{L-1} · sign(W_L)ᵀ)
//     the gradients of all W_l, γ_l, β_l, by the rules of metaplast.nn (straight-through, window)
//     a step of MetaplasticAdam or MetaplasticSGD on each, which writes the new sign(W_l) too
//
// Products are those of metaplast.nn._deterministic, by the same operations of torch. Everything else works on blocks
// whose limits depend on sizes alone, so results have the same bits on any number of threads. a · b + c is fused only
// where std::fma says so.
#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/ops/_int_mm.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/mm.h>
#include <torch/library.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>
#include <string>
#include <vector>

namespace {

using at::Tensor;
using std::vector;

enum Norm : int64_t { BATCH, LAYER, FIXED };
enum Activation : int64_t { SIGN, GATE };
enum Consolidation : int64_t { NONE, TANH, EXPONENTIAL };

constexpr int64_t COLUMNS = 64;        // of a block of a normalization
constexpr int64_t ELEMENTS = 4096;     // of a block of an optimizer step
constexpr int64_t SERIAL = 1 << 15;    // elements for which a second thread does not pay
constexpr int64_t MIN_ROWS = 16;       // of metaplast.nn._deterministic: fewer are multiplied on one thread
constexpr int64_t GRADIENT = 1 << 22;  // elements of a weight gradient that exist at a time, 16 MB

// f(first, last) over [0, n) in blocks of `size`; several threads where there are more than SERIAL elements in all.
template <class F>
void blocks(int64_t n, int64_t size, int64_t elements_each, const F& f) {
  const int64_t grain = std::max<int64_t>(1, SERIAL / 2 / std::max<int64_t>(1, size * elements_each));
  at::parallel_for(0, (n + size - 1) / size, grain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; i++) f(i * size, std::min(n, (i + 1) * size));
  });
}

// e^x for x ≤ 0 to two units in the last place, in a form that compilers vectorize (Cephes' expf).
inline float exp_negative(float x) {
  x = x < -87.0f ? -87.0f : x;
  const float n = std::floor(x * 1.44269504f + 0.5f);
  const float r = std::fma(n, 2.12194440e-4f, std::fma(n, -0.693359375f, x));
  float p = std::fma(1.9875691500e-4f, r, 1.3981999507e-3f);
  p = std::fma(p, r, 8.3334519073e-3f);
  p = std::fma(p, r, 4.1665795894e-2f);
  p = std::fma(p, r, 1.6666665459e-1f);
  p = std::fma(p, r, 5.0000001201e-1f);
  p = std::fma(p * r, r, r) + 1.0f;
  const int32_t bits = (static_cast<int32_t>(n) + 127) << 23;
  float scale;
  std::memcpy(&scale, &bits, sizeof scale);
  return p * scale;
}

// ---------------------------------------------------------------------------------------------------------- products

// a · wᵀ, float32.
Tensor product(const Tensor& a, const Tensor& w) {
  using Linear = Tensor(const Tensor&, const Tensor&, const std::optional<Tensor>&, std::string_view,
                        c10::List<std::optional<at::Scalar>>, std::optional<std::string_view>);
  static const auto linear =
      c10::Dispatcher::singleton().findSchemaOrThrow("mkldnn::_linear_pointwise", "").typed<Linear>();
  if (a.size(0) >= MIN_ROWS) return linear.call(a, w, std::nullopt, "none", c10::List<std::optional<at::Scalar>>(), "");
  const int threads = at::get_num_threads();
  at::set_num_threads(1);
  Tensor result = at::mm(a, w.t());
  at::set_num_threads(threads);
  return result;
}

// ------------------------------------------------------------------------------------------------------------- steps

// A row of the table of settings; `step` is that of the optimizer before the call.
enum Setting : int64_t { LR, M, BETA1, BETA2, EPS, WEIGHT_DECAY, DECAY, RELATIVE_M, CONSOLIDATION, STEP, SETTINGS };

// One parameter, the state of its optimizer (one tensor of SGD, two of Adam), and for a weight where its signs are kept.
struct Parameter {
  float *value = nullptr, *state = nullptr, *state2 = nullptr, *signs = nullptr;
  int8_t* signs8 = nullptr;
  int64_t rows = 0, size = 0;
  const double* settings = nullptr;
};

// m / ⟨|W^h|⟩^p of metaplast.optim, with ⟨|W^h|⟩ taken after the decay; sums of rows, which depend on no thread.
double effective_m(const Parameter& p) {
  const double m = p.settings[M], exponent = p.settings[RELATIVE_M];
  if (m == 0 || exponent == 0) return m;
  const int64_t length = p.size / p.rows;
  vector<double> sums(p.rows);
  blocks(p.rows, 1, length, [&](int64_t r, int64_t) {
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < length; i++) sum += std::fabs(p.value[r * length + i]);
    sums[r] = sum;
  });
  const double mean = std::accumulate(sums.begin(), sums.end(), 0.0) / p.size * (1 - p.settings[DECAY]);
  return mean != 0 ? m / std::pow(mean, exponent) : m;
}

// Equation 1 of the paper as metaplast.optim.compiled writes it: f_meta = 4 z / (1 + z)², z = e^(−2 m |W^h|).
// `share` returns the pair of factors by which a step is multiplied and divided.
template <int64_t KIND>
inline void share(float m, float w, float direction, float& times, float& over) {
  const float size = w * direction > 0 ? std::fabs(w) : 0.0f;
  times = over = 1.0f;
  if constexpr (KIND == TANH) {
    const float z = exp_negative(-2 * m * size);
    times = 4 * z;
    over = (1 + z) * (1 + z);
  } else if constexpr (KIND == EXPONENTIAL) {
    times = exp_negative(-m * size);
  }
}

struct AdamStep {
  float step_size, m, beta1, rest1, beta2, rest2, eps, decay, kept;
  AdamStep(const double* s, double effective_m, int64_t steps_before) {
    const double t = s[STEP] + steps_before + 1;
    step_size = s[LR] * std::sqrt(1 - std::pow(s[BETA2], t)) / (1 - std::pow(s[BETA1], t));
    m = effective_m, beta1 = s[BETA1], rest1 = 1 - s[BETA1], beta2 = s[BETA2], rest2 = 1 - s[BETA2];
    eps = s[EPS], decay = s[WEIGHT_DECAY], kept = 1 - s[DECAY];
  }
  template <int64_t KIND>
  inline float operator()(float w, float g, float& mean, float& square) const {
    w *= kept;
    g += decay * w;
    mean = beta1 * mean + rest1 * g;
    square = beta2 * square + rest2 * g * g;
    float times, over;
    share<KIND>(m, w, mean, times, over);
    return w - times * (step_size * mean) / (over * (std::sqrt(square) + eps));
  }
};

struct SgdStep {
  float lr, m, momentum, decay, kept;
  SgdStep(const double* s, double effective_m, int64_t) {
    lr = s[LR], m = effective_m, momentum = s[BETA1], decay = s[WEIGHT_DECAY], kept = 1 - s[DECAY];
  }
  template <int64_t KIND>
  inline float operator()(float w, float g, float& buffer, float&) const {
    w *= kept;
    buffer = momentum * buffer + (g + decay * w);
    float times, over;
    share<KIND>(m, w, buffer, times, over);
    return w - lr * (times * buffer / over);
  }
};

template <class Step, int64_t KIND, bool SIGNS, bool SIGNS8>
void step_block(const Parameter& p, const float* gradient, const Step step, int64_t first, int64_t last) {
  float *__restrict value = p.value, *__restrict state = p.state, *__restrict signs = p.signs;
  float* __restrict state2 = p.state2 ? p.state2 : p.state;
  int8_t* __restrict signs8 = p.signs8;
#pragma omp simd
  for (int64_t i = first; i < last; i++) {
    float second = state2[i];
    const float w = step.template operator()<KIND>(value[i], gradient[i], state[i], second);
    if constexpr (std::is_same_v<Step, AdamStep>) state2[i] = second;
    value[i] = w;
    if constexpr (SIGNS) signs[i] = w >= 0 ? 1.0f : -1.0f;
    if constexpr (SIGNS8) signs8[i] = w >= 0 ? 1 : -1;
  }
}

// The step on elements [first, last) of a parameter; gradient[0] belongs to `first`.
template <class Step, int64_t KIND>
void step_kind(const Parameter& p, const float* gradient, const Step& step, int64_t first, int64_t last) {
  gradient -= first;
  blocks(last - first, ELEMENTS, 1, [&](int64_t begin, int64_t end) {
    begin += first, end += first;
    if (p.signs && p.signs8) step_block<Step, KIND, true, true>(p, gradient, step, begin, end);
    else if (p.signs) step_block<Step, KIND, true, false>(p, gradient, step, begin, end);
    else if (p.signs8) step_block<Step, KIND, false, true>(p, gradient, step, begin, end);
    else step_block<Step, KIND, false, false>(p, gradient, step, begin, end);
  });
}

template <class Step>
void take_step(const Parameter& p, double m, const float* gradient, int64_t steps_before, int64_t first, int64_t last) {
  const Step step(p.settings, m, steps_before);
  const int64_t kind = m != 0 ? static_cast<int64_t>(p.settings[CONSOLIDATION]) : NONE;
  if (kind == TANH) step_kind<Step, TANH>(p, gradient, step, first, last);
  else if (kind == EXPONENTIAL) step_kind<Step, EXPONENTIAL>(p, gradient, step, first, last);
  else step_kind<Step, NONE>(p, gradient, step, first, last);
}

// ------------------------------------------------------------------------------------ normalizations and activations

struct Rules {
  int64_t norm, activation;
  double eps, momentum;
  float threshold, lower, upper;

  float backward(float y, float g) const {
    if (activation == SIGN) return std::fabs(y) <= 1.0f ? g : 0.0f;
    const float size = std::fabs(y);
    return lower < size && size < upper ? (y < 0 ? -g : g) : 0.0f;
  }
};

struct Layer {
  int64_t in, out;
  bool last;
  Parameter weight, gamma, beta;
  Tensor hidden, signs, signs8;          // W^h (out, in) and its signs
  float *mean = nullptr, *var = nullptr;  // averages kept while training, if they are
  // Of the current batch: sums a (B, out), what their normalization was made of, and the output.
  Tensor sums, a, x, x8, center, inverse, scale, shift;

  const float* data(const Tensor& t) const { return t.const_data_ptr<float>(); }
};

float* floats(const Tensor& t) { return t.data_ptr<float>(); }

// Write activations, or logits of the last layer, of `n` values y = a · scale + shift.
template <class Y>
inline void write_outputs(const Rules& rules, bool last, float* __restrict x, int8_t* __restrict x8, int64_t n, Y y) {
  if (last) {
#pragma omp simd
    for (int64_t c = 0; c < n; c++) x[c] = y(c);
  } else if (rules.activation == SIGN) {
#pragma omp simd
    for (int64_t c = 0; c < n; c++) {
      const float v = y(c);
      const int32_t sign = (v > 0) - (v < 0);
      x[c] = static_cast<float>(sign), x8[c] = static_cast<int8_t>(sign);
    }
  } else {
    const float threshold = rules.threshold;
#pragma omp simd
    for (int64_t c = 0; c < n; c++) {
      const int32_t open = std::fabs(y(c)) > threshold;
      x[c] = static_cast<float>(open), x8[c] = static_cast<int8_t>(open);
    }
  }
}

// Batch normalization and the activation behind it. Every sum and every fused a · b + c is as in torch's own, so that
// both have the same bits: where a sum equals the mean of its batch, rounding alone decides the sign.
template <class T>
void batch_norm_forward(const Rules& rules, Layer& l, const T* sums, int64_t B) {
  const int64_t N = l.out;
  float *a = floats(l.a), *x = floats(l.x), *center = floats(l.center), *inverse = floats(l.inverse);
  float *scale = floats(l.scale), *shift = floats(l.shift);
  int8_t* x8 = l.last ? nullptr : l.x8.data_ptr<int8_t>();
  blocks(N, COLUMNS, B, [&](int64_t c0, int64_t c1) {
    const int64_t n = c1 - c0;
    float total[COLUMNS] = {}, squares[COLUMNS] = {};
    for (int64_t r = 0; r < B; r++)
      for (int64_t c = 0; c < n; c++) total[c] += a[r * N + c0 + c] = static_cast<float>(sums[r * N + c0 + c]);
    for (int64_t c = 0; c < n; c++) center[c0 + c] = static_cast<float>(static_cast<double>(total[c]) / B);
    for (int64_t r = 0; r < B; r++)
      for (int64_t c = 0; c < n; c++) {
        const float d = a[r * N + c0 + c] - center[c0 + c];
        squares[c] = std::fma(d, d, squares[c]);
      }
    for (int64_t c = c0; c < c1; c++) {
      const float sum = squares[c - c0];
      inverse[c] = static_cast<float>(1 / std::sqrt(static_cast<double>(sum / B) + rules.eps));
      scale[c] = inverse[c] * (l.gamma.value ? l.gamma.value[c] : 1.0f);
      shift[c] = std::fma(-center[c], scale[c], l.beta.value ? l.beta.value[c] : 0.0f);
      if (l.mean) {
        l.mean[c] = rules.momentum * center[c] + (1 - rules.momentum) * l.mean[c];
        l.var[c] = rules.momentum * (sum / (B - 1)) + (1 - rules.momentum) * l.var[c];
      }
    }
    for (int64_t r = 0; r < B; r++) {
      const int64_t at = r * N + c0;
      const float *of = a + at, *by = scale + c0, *plus = shift + c0;
      write_outputs(rules, l.last, x + at, x8 + at, n, [=](int64_t c) { return std::fma(of[c], by[c], plus[c]); });
    }
  });
}

// g: gradient of the outputs, which becomes that of the sums; and the gradients of γ and β.
void batch_norm_backward(const Rules& rules, const Layer& l, float* g, float* of_gamma, float* of_beta, int64_t B) {
  const int64_t N = l.out;
  const float *a = l.data(l.a), *center = l.data(l.center), *inverse = l.data(l.inverse), *scale = l.data(l.scale),
              *shift = l.data(l.shift);
  blocks(N, COLUMNS, B, [&](int64_t c0, int64_t c1) {
    const int64_t n = c1 - c0;
    float total[COLUMNS] = {}, dot[COLUMNS] = {};
    for (int64_t r = 0; r < B; r++)
      for (int64_t c = 0; c < n; c++) {
        const int64_t i = r * N + c0 + c;
        if (!l.last) g[i] = rules.backward(std::fma(a[i], scale[c0 + c], shift[c0 + c]), g[i]);
        total[c] += g[i];
        dot[c] = std::fma(a[i] - center[c0 + c], g[i], dot[c]);
      }
    float mean[COLUMNS], slope[COLUMNS], gamma[COLUMNS];
    for (int64_t c = 0; c < n; c++) {
      const float inv = inverse[c0 + c];
      of_beta[c0 + c] = total[c];
      of_gamma[c0 + c] = dot[c] * inv;
      mean[c] = total[c] / B;
      slope[c] = dot[c] * inv * inv / B;
      gamma[c] = l.gamma.value ? l.gamma.value[c0 + c] : 1.0f;
    }
    for (int64_t r = 0; r < B; r++)
      for (int64_t c = 0; c < n; c++) {
        const int64_t i = r * N + c0 + c;
        g[i] = std::fma(center[c0 + c] - a[i], slope[c], g[i] - mean[c]) * inverse[c0 + c] * gamma[c];
      }
  });
}

// γ (a − mean) · inverse + β, the way torch's group normalization has it.
inline float row_output(float a, float mean, float inverse, const float* gamma, const float* beta, int64_t c) {
  if (!gamma) return (a - mean) * inverse;
  const float scale = inverse * gamma[c];
  return std::fma(scale, a, std::fma(-scale, mean, beta[c]));
}

// Layer normalization, or no statistics at all but a fixed scale, and the activation behind it.
template <class T>
void row_norm_forward(const Rules& rules, Layer& l, const T* sums, int64_t B) {
  const int64_t N = l.out;
  float *center = floats(l.center), *inverse = floats(l.inverse);
  const float *gamma = l.gamma.value, *beta = l.beta.value;
  blocks(B, 1, N, [&](int64_t r, int64_t) {
    float* a = floats(l.a) + r * N;
    double total = 0, squares = 0;
    for (int64_t c = 0; c < N; c++) a[c] = static_cast<float>(sums[r * N + c]);
    if (rules.norm == LAYER) {
      for (int64_t c = 0; c < N; c++) total += a[c];
      for (int64_t c = 0; c < N; c++) squares += (a[c] - total / N) * (a[c] - total / N);
      center[r] = static_cast<float>(total / N);
      inverse[r] = static_cast<float>(1 / std::sqrt(squares / N + rules.eps));
    } else {
      center[r] = 0;
      inverse[r] = static_cast<float>(1 / std::sqrt(static_cast<double>(l.in)));
    }
    const float mean = center[r], inv = inverse[r];
    write_outputs(rules, l.last, floats(l.x) + r * N, l.last ? nullptr : l.x8.data_ptr<int8_t>() + r * N, N,
                  [&](int64_t c) { return row_output(a[c], mean, inv, gamma, beta, c); });
  });
}

void row_norm_backward(const Rules& rules, const Layer& l, float* g, float* of_gamma, float* of_beta, int64_t B) {
  const int64_t N = l.out;
  const float *a = l.data(l.a), *center = l.data(l.center), *inverse = l.data(l.inverse);
  const float *gamma = l.gamma.value, *beta = l.beta.value;
  blocks(B, 1, N, [&](int64_t r, int64_t) {  // through the activation
    for (int64_t c = 0; c < N && !l.last; c++) {
      g[r * N + c] = rules.backward(row_output(a[r * N + c], center[r], inverse[r], gamma, beta, c), g[r * N + c]);
    }
  });
  if (gamma)
    blocks(N, COLUMNS, B, [&](int64_t c0, int64_t c1) {
      std::fill(of_gamma + c0, of_gamma + c1, 0.0f);
      std::fill(of_beta + c0, of_beta + c1, 0.0f);
      for (int64_t r = 0; r < B; r++)
        for (int64_t c = c0; c < c1; c++) {
          of_beta[c] += g[r * N + c];
          of_gamma[c] += g[r * N + c] * ((a[r * N + c] - center[r]) * inverse[r]);
        }
    });
  blocks(B, 1, N, [&](int64_t r, int64_t) {
    float* of_a = g + r * N;
    double total = 0, dot = 0;
    for (int64_t c = 0; c < N; c++) {
      of_a[c] *= gamma ? gamma[c] : 1.0f;
      total += of_a[c];
      dot += of_a[c] * ((a[r * N + c] - center[r]) * inverse[r]);
    }
    if (rules.norm == FIXED) total = dot = 0;
    const float mean = static_cast<float>(total / N), slope = static_cast<float>(dot / N);
    for (int64_t c = 0; c < N; c++)
      of_a[c] = (of_a[c] - mean - (a[r * N + c] - center[r]) * inverse[r] * slope) * inverse[r];
  });
}

// -------------------------------------------------------------------------------------------------------------- loss

// Mean cross entropy of `scale` times z (B, C), and its gradient; with `allowed` (C, C) among the classes of each
// label's row.
float cross_entropy(float scale, const float* logits, const int64_t* labels, const bool* allowed, float* g, int64_t B,
                    int64_t C) {
  double loss = 0;
  for (int64_t r = 0; r < B; r++) {
    const float* z = logits + r * C;
    float* p = g + r * C;
    const bool* row = allowed ? allowed + labels[r] * C : nullptr;
    float largest = -INFINITY, total = 0;
    for (int64_t c = 0; c < C; c++)
      if (!row || row[c]) largest = std::max(largest, scale * z[c]);
    for (int64_t c = 0; c < C; c++) {
      p[c] = !row || row[c] ? exp_negative(scale * z[c] - largest) : 0.0f;
      total += p[c];
    }
    for (int64_t c = 0; c < C; c++) p[c] = p[c] / total / B;
    p[labels[r]] -= 1.0f / B;
    for (int64_t c = 0; c < C; c++) p[c] *= scale;
    loss += std::log(total) - (scale * z[labels[r]] - largest);
  }
  return static_cast<float>(loss / B);
}

// ------------------------------------------------------------------------------------------------------- whole steps

// Tensors of a layer, as native.py lists them; those that a network lacks are empty.
enum Place : int64_t { W, W_STATE, W_STATE2, GAMMA, GAMMA_STATE, GAMMA_STATE2, BETA, BETA_STATE, BETA_STATE2,
                       MEAN, VAR, SIGNS, SIGNS8, PLACES };

class Network {
 public:
  Network(at::TensorList tensors, const Tensor& settings, const Rules& rules, bool adam, int64_t largest_batch)
      : rules_(rules), adam_(adam), layers_(tensors.size() / PLACES) {
    const auto f32 = at::TensorOptions().dtype(at::kFloat);
    for (size_t i = 0; i < layers_.size(); i++) {
      Layer& l = layers_[i];
      const Tensor* t = &tensors[i * PLACES];
      const auto data = [&](int64_t place) { return t[place].numel() ? floats(t[place]) : nullptr; };
      const auto parameter = [&](int64_t place) {
        const int64_t row = static_cast<int64_t>(i) * 3 + place / 3;
        return Parameter{data(place), data(place + 1), data(place + 2), nullptr, nullptr, t[place].size(0), t[place].numel(),
                         settings.const_data_ptr<double>() + row * SETTINGS};
      };
      l.hidden = t[W], l.signs = t[SIGNS], l.signs8 = t[SIGNS8];
      l.out = l.hidden.size(0), l.in = l.hidden.size(1), l.last = i + 1 == layers_.size();
      l.weight = parameter(W), l.gamma = parameter(GAMMA), l.beta = parameter(BETA);
      l.weight.signs = data(SIGNS);
      l.weight.signs8 = l.signs8.numel() ? l.signs8.data_ptr<int8_t>() : nullptr;
      l.mean = data(MEAN), l.var = data(VAR);
      const int64_t B = largest_batch;
      l.a = at::empty({B, l.out}, f32), l.x = at::empty({B, l.out}, f32);
      l.sums = at::empty({B, l.out}, at::kInt), l.x8 = at::empty({B, l.out}, at::kChar);
      for (Tensor* kept : {&l.center, &l.inverse}) *kept = at::empty({std::max(B, l.out)}, f32);
      for (Tensor* kept : {&l.scale, &l.shift}) *kept = at::empty({l.out}, f32);
    }
  }

  // Logits (B, C) of x0 (B, P).
  const float* forward(const Tensor& x0) {
    const int64_t B = x0.size(0);
    for (size_t i = 0; i < layers_.size(); i++) {
      Layer& l = layers_[i];
      if (i == 0) {
        normalize(l, product(x0, l.signs).const_data_ptr<float>(), B);
      } else {
        Tensor sums = l.sums.narrow(0, 0, B);
        at::_int_mm_out(sums, layers_[i - 1].x8.narrow(0, 0, B), l.signs8.t());
        normalize(l, sums.const_data_ptr<int32_t>(), B);
      }
    }
    return floats(layers_.back().x);
  }

  // From the gradient of the logits: a step of every parameter. A weight's own gradient is made when nothing needs the
  // weight any more, in parts that stay in memory that is used again.
  void backward(const Tensor& x0, Tensor g, int64_t steps_before) {
    const int64_t B = x0.size(0);
    for (int64_t i = static_cast<int64_t>(layers_.size()) - 1; i >= 0; i--) {
      Layer& l = layers_[i];
      vector<float> of_gamma(l.out), of_beta(l.out);
      const auto norm_backward = rules_.norm == BATCH ? batch_norm_backward : row_norm_backward;
      norm_backward(rules_, l, floats(g), of_gamma.data(), of_beta.data(), B);
      const Tensor x = i ? layers_[i - 1].x.narrow(0, 0, B) : x0;
      const Tensor of_x = i ? product(g, l.signs.t()) : Tensor();
      const int64_t rows = std::max<int64_t>(MIN_ROWS, GRADIENT / l.in);
      const double m = effective_m(l.weight);
      for (int64_t first = 0; first < l.out;) {
        const int64_t last = l.out - first < rows + MIN_ROWS ? l.out : first + rows;
        const Tensor of_w = product(g.narrow(1, first, last - first).t(), x.t()).contiguous();
        step(l.weight, m, of_w.const_data_ptr<float>(), steps_before, first * l.in, last * l.in);
        first = last;
      }
      if (l.gamma.value) step(l.gamma, 0, of_gamma.data(), steps_before, 0, l.out);
      if (l.beta.value) step(l.beta, 0, of_beta.data(), steps_before, 0, l.out);
      g = of_x;
    }
  }

  int64_t n_classes() const { return layers_.back().out; }

 private:
  template <class T>
  void normalize(Layer& l, const T* sums, int64_t B) {
    if (rules_.norm == BATCH) batch_norm_forward(rules_, l, sums, B);
    else row_norm_forward(rules_, l, sums, B);
  }

  void step(const Parameter& p, double m, const float* gradient, int64_t steps_before, int64_t first, int64_t last) {
    if (adam_) take_step<AdamStep>(p, m, gradient, steps_before, first, last);
    else take_step<SgdStep>(p, m, gradient, steps_before, first, last);
  }

  const Rules rules_;
  const bool adam_;
  vector<Layer> layers_;
};

// Rows of images, uint8 as [0, 1] or float32 as they are.
void gather(const Tensor& images, const int64_t* order, int64_t B, float* x) {
  const int64_t P = images.size(1);
  const uint8_t* pixels = images.scalar_type() == at::kByte ? images.const_data_ptr<uint8_t>() : nullptr;
  const float* values = pixels ? nullptr : images.const_data_ptr<float>();
  blocks(B, 1, P, [&](int64_t r, int64_t) {
    if (pixels)
      for (int64_t c = 0; c < P; c++) x[r * P + c] = static_cast<float>(pixels[order[r] * P + c]) / 255.0f;
    else
      std::memcpy(x + r * P, values + order[r] * P, P * sizeof(float));
  });
}

// Losses (K,) of the batches, whose sizes add up to the length of `order`.
Tensor train_steps(const Tensor& images, const Tensor& labels, const Tensor& order, at::IntArrayRef sizes,
                   at::TensorList tensors, const Tensor& settings, const Tensor& allowed, bool adam,
                   at::IntArrayRef kinds, at::ArrayRef<double> numbers) {
  const Rules rules{kinds[0], kinds[1], numbers[0], numbers[1], static_cast<float>(numbers[2]),
                    static_cast<float>(numbers[3]), static_cast<float>(numbers[4])};
  const float scale = static_cast<float>(numbers[5]);
  const int64_t largest = *std::max_element(sizes.begin(), sizes.end());
  Network network(tensors, settings, rules, adam, largest);
  Tensor x = at::empty({largest, images.size(1)}, at::kFloat), losses = at::empty(sizes.size(), at::kFloat);
  vector<int64_t> y(largest);
  const int64_t *indices = order.const_data_ptr<int64_t>(), *all = labels.const_data_ptr<int64_t>();
  for (size_t k = 0; k < sizes.size(); indices += sizes[k++]) {
    const int64_t B = sizes[k];
    for (int64_t r = 0; r < B; r++) {
      TORCH_CHECK_INDEX(0 <= indices[r] && indices[r] < labels.size(0), "order: expected indices of images");
      y[r] = all[indices[r]];
      TORCH_CHECK_INDEX(0 <= y[r] && y[r] < network.n_classes(), "labels: expected classes of the network");
    }
    gather(images, indices, B, floats(x));
    const Tensor x0 = x.narrow(0, 0, B);
    const float* logits = network.forward(x0);
    Tensor g = at::empty({B, network.n_classes()}, at::kFloat);
    floats(losses)[k] = cross_entropy(scale, logits, y.data(), allowed.numel() ? allowed.const_data_ptr<bool>() : nullptr,
                                      floats(g), B, network.n_classes());
    network.backward(x0, g, static_cast<int64_t>(k));
  }
  return losses;
}

}  // namespace

TORCH_LIBRARY(metaplast_native, library) {
  library.def(
      "train_steps(Tensor images, Tensor labels, Tensor order, int[] sizes, Tensor[] tensors, Tensor settings, "
      "Tensor allowed, bool adam, int[] kinds, float[] numbers) -> Tensor");
  library.impl("train_steps", c10::DispatchKey::CPU, train_steps);
}
