import type { Reals } from '../host-layout.js'

/** silu(gate) * up, element by element; silu(x) = x / (1 + exp(-x)). */
export function swiglu(gate: Reals, up: Reals): Float64Array {
  return Float64Array.from(gate, (value, index) => value * sigmoid(value) * up[index])
}

/** Gradients of `swiglu`. */
export function swigluBackward(dy: Reals, gate: Reals, up: Reals): { dGate: Float64Array; dUp: Float64Array } {
  const dGate = Float64Array.from(gate, (value, index) => {
    const share = sigmoid(value)
    return dy[index] * up[index] * share * (1 + value * (1 - share))
  })
  const dUp = Float64Array.from(gate, (value, index) => dy[index] * value * sigmoid(value))
  return { dGate, dUp }
}

function sigmoid(value: number): number {
  return 1 / (1 + Math.exp(-value))
}
