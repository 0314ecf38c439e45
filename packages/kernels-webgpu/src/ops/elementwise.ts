import { elementCount, type Tensor } from '@phsa/core'
import addSource from '../../kernels/add.wgsl?raw'
import gridSource from '../../kernels/grid.wgsl?raw'
import sigmoidSource from '../../kernels/sigmoid.wgsl?raw'
import swigluSource from '../../kernels/swiglu.wgsl?raw'
import swigluBackwardSource from '../../kernels/swiglu_backward.wgsl?raw'
import { read, write } from '../device/bindings.js'
import { gridOf } from '../device/grid.js'
import { packParams } from '../device/param-layout.js'
import type { ShaderPart } from '../device/shader-part.js'
import { elementTypeOf, VECTOR_TYPES, vectorOf } from './element-types.js'
import type { OpHost } from './op-host.js'

/** `Params` of swiglu.wgsl, swiglu_backward.wgsl and add.wgsl. */
export const ElementwiseParams = { vectors: 'u32' } as const

const GRID = { file: 'grid.wgsl', source: gridSource }
const SIGMOID = { file: 'sigmoid.wgsl', source: sigmoidSource }
const SWIGLU = [SIGMOID, { file: 'swiglu.wgsl', source: swigluSource }]
const SWIGLU_BACKWARD = [SIGMOID, { file: 'swiglu_backward.wgsl', source: swigluBackwardSource }]
const ADD = [{ file: 'add.wgsl', source: addSource }]
/** Threads of a workgroup, each with one vector. */
const THREADS = 256

/** silu(gate) * up. */
export function swiglu(host: OpHost, gate: Tensor, up: Tensor): Tensor {
  const product = host.memory.make(gate.shape, gate.dtype)
  launch(host, 'swiglu', SWIGLU, [gate, up], [product])
  return product
}

/** Gradients of `swiglu`. */
export function swigluBackward(host: OpHost, dy: Tensor, gate: Tensor, up: Tensor): { readonly dGate: Tensor; readonly dUp: Tensor } {
  const [dGate, dUp] = [host.memory.make(gate.shape, gate.dtype), host.memory.make(up.shape, up.dtype)]
  launch(host, 'swiglu_backward', SWIGLU_BACKWARD, [dy, gate, up], [dGate, dUp])
  return { dGate, dUp }
}

/** a + b. */
export function add(host: OpHost, a: Tensor, b: Tensor): Tensor {
  const sum = host.memory.make(a.shape, a.dtype)
  launch(host, 'add', ADD, [a, b], [sum])
  return sum
}

function launch(
  { device, memory }: OpHost,
  name: string,
  parts: readonly ShaderPart[],
  inputs: readonly Tensor[],
  outputs: readonly Tensor[],
): void {
  const count = elementCount(inputs[0].shape)
  const vector = vectorOf(count)
  device.launch({
    kernel: { name, parts: [GRID, VECTOR_TYPES[vector], ...parts] },
    element: elementTypeOf(inputs[0]),
    constants: {},
    bindings: [...inputs.map((tensor) => read(memory.slice(tensor))), ...outputs.map((tensor) => write(memory.slice(tensor)))],
    params: packParams(ElementwiseParams, { vectors: count / vector }),
    grid: gridOf(Math.ceil(count / vector / THREADS)),
  })
}
