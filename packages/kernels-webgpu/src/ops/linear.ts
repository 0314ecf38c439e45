import type { Tensor } from '@phsa/core'
import { multiply } from '../products/multiply.js'
import { tensorMatrix } from '../products/tensor-matrix.js'
import type { OpHost } from './op-host.js'

/** y = x Wt, as `ModelOps.linear`. */
export function linear(host: OpHost, x: Tensor, weight: Tensor): Tensor {
  const { memory } = host
  const [rows, depth] = x.shape
  const [columns] = weight.shape
  const y = memory.make([rows, columns], x.dtype)
  const left = tensorMatrix(memory, x)
  const right = { ...tensorMatrix(memory, weight), transposed: true }
  multiply(host, { rows, columns, depth, element: left.element, left, right, result: tensorMatrix(memory, y) })
  return y
}

/** Returns dx and adds to dWeight, as `ModelOps.linearBackward`. */
export function linearBackward(host: OpHost, dy: Tensor, x: Tensor, weight: Tensor, dWeight: Tensor, dx?: Tensor): Tensor {
  const { memory } = host
  const [tokens, inputs] = x.shape
  const [outputs] = weight.shape
  const change = tensorMatrix(memory, dy)
  const { element } = change
  multiply(host, {
    rows: outputs,
    columns: inputs,
    depth: tokens,
    element,
    left: { ...change, transposed: true },
    right: tensorMatrix(memory, x),
    result: tensorMatrix(memory, dWeight),
    accumulate: true,
  })
  const target = dx ?? memory.make(x.shape, x.dtype)
  multiply(host, {
    rows: tokens,
    columns: inputs,
    depth: outputs,
    element,
    left: change,
    right: tensorMatrix(memory, weight),
    result: tensorMatrix(memory, target),
    accumulate: dx !== undefined,
  })
  return target
}
