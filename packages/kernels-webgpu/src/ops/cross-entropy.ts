import type { CrossEntropyInput, CrossEntropyOutput, Tensor } from '@phsa/core'
import crossEntropySource from '../../kernels/cross_entropy.wgsl?raw'
import crossEntropyTotalSource from '../../kernels/cross_entropy_total.wgsl?raw'
import gridSource from '../../kernels/grid.wgsl?raw'
import { read, write } from '../device/bindings.js'
import { gridOf } from '../device/grid.js'
import type { BufferSlice } from '../device/kernel-launch.js'
import { packParams } from '../device/param-layout.js'
import { addParts } from '../products/add-parts.js'
import type { MatrixProduct } from '../products/matrix-product.js'
import { multiply } from '../products/multiply.js'
import { tensorMatrix } from '../products/tensor-matrix.js'
import type { OpHost } from './op-host.js'

/** `Params` of cross_entropy.wgsl. */
export const CrossEntropyParams = {
  rows: 'u32',
  vocabulary: 'u32',
  stride: 'u32',
  firstToken: 'u32',
  gradient: 'u32',
  half: 'u32',
} as const

/** `Params` of cross_entropy_total.wgsl. */
export const CrossEntropyTotalParams = { tokens: 'u32' } as const

const CROSS_ENTROPY = {
  name: 'cross_entropy',
  parts: [
    { file: 'grid.wgsl', source: gridSource },
    { file: 'cross_entropy.wgsl', source: crossEntropySource },
  ],
}
const CROSS_ENTROPY_TOTAL = {
  name: 'cross_entropy_total',
  parts: [{ file: 'cross_entropy_total.wgsl', source: crossEntropyTotalSource }],
}

/** Logits of a chunk at most. */
const LOGITS_BYTES = 2 ** 28
/** Rows of logits begin at multiples of so many floats: 16 bytes in f16 too. */
const STRIDE_STEP = 8
/** Chunks of this many tokens fill the tiles of a product. */
const ROW_STEP = 128
const FLOAT_BYTES = Float32Array.BYTES_PER_ELEMENT

/** Where gradients go: dHidden is written, dHead added to. */
interface Gradients {
  readonly dHidden: Tensor
  readonly dHead: Tensor
}

/**
 * The loss, as `ModelOps.crossEntropy`: in chunks of tokens whose logits are in f32.
 * @param logitsBytes logits of a chunk at most
 */
export function crossEntropy(host: OpHost, input: CrossEntropyInput, logitsBytes?: number): CrossEntropyOutput {
  return inChunks(host, input, undefined, logitsBytes)
}

/** Loss and gradients, as `ModelOps.crossEntropyBackward`: gradients of the logits take their place. */
export function crossEntropyBackward(
  host: OpHost,
  input: CrossEntropyInput,
  dHead: Tensor,
  logitsBytes?: number,
): CrossEntropyOutput & { readonly dHidden: Tensor } {
  const dHidden = host.memory.make(input.hidden.shape, input.hidden.dtype)
  return { ...inChunks(host, input, { dHidden, dHead }, logitsBytes), dHidden }
}

function inChunks(
  host: OpHost,
  input: CrossEntropyInput,
  gradients: Gradients | undefined,
  logitsBytes = LOGITS_BYTES,
): CrossEntropyOutput {
  const { memory } = host
  const tokens = input.hidden.shape[0]
  const [vocabulary, width] = input.head.shape
  const tokenLosses = memory.make([tokens], 'f32')
  const stride = Math.ceil(vocabulary / STRIDE_STEP) * STRIDE_STEP
  const rowBytes = stride * FLOAT_BYTES
  const most = chunkRows(Math.min(logitsBytes, host.device.gpu.limits.maxStorageBufferBindingSize), rowBytes, tokens)
  memory.scratch(most * rowBytes, (logits) => {
    const addChunks = (dHead: MatrixProduct['result'] | undefined, accumulate: boolean) => {
      for (let first = 0; first < tokens; first += most) {
        const chunk = { ...host, input, tokenLosses, logits, stride, first, rows: Math.min(most, tokens - first) }
        losses(chunk, gradients !== undefined)
        if (gradients && dHead) addGradients(chunk, gradients.dHidden, dHead, accumulate || first > 0)
      }
    }
    if (gradients?.dHead.dtype !== 'f16' || most >= tokens) {
      addChunks(gradients && tensorMatrix(memory, gradients.dHead), true)
      return
    }
    // Rounded once, however many chunks add to it.
    memory.scratch(vocabulary * width * FLOAT_BYTES, (slice) => {
      const sums = { slice, first: 0, stride: width, element: 'f32' } as const
      addChunks(sums, false)
      const result = tensorMatrix(memory, gradients.dHead)
      addParts(host, { rows: vocabulary, columns: width, parts: 1, sums, element: 'f16', result, accumulate: true })
    })
  })
  return { loss: weightedSum(host, tokenLosses, input.weights), tokenLosses }
}

/** Tokens a chunk: all, or as many as find room. */
function chunkRows(bytes: number, rowBytes: number, tokens: number): number {
  const fitting = Math.floor(bytes / Math.max(1, rowBytes))
  return Math.min(tokens, fitting > ROW_STEP ? fitting - (fitting % ROW_STEP) : Math.max(1, fitting))
}

/** Tokens `first` to `first + rows - 1`. */
interface Chunk extends OpHost {
  readonly input: CrossEntropyInput
  readonly tokenLosses: Tensor
  /** f32 [rows, stride], with gradients then of the activations' type at the beginning of each row. */
  readonly logits: BufferSlice
  readonly stride: number
  readonly first: number
  readonly rows: number
}

function losses({ device, memory, input, tokenLosses, logits, stride, first, rows }: Chunk, gradient: boolean): void {
  const { hidden, head, targets, weights } = input
  const [vocabulary, width] = head.shape
  const left = tensorMatrix(memory, hidden, first)
  multiply(
    { device, memory },
    {
      rows,
      columns: vocabulary,
      depth: width,
      element: left.element,
      left,
      right: { ...tensorMatrix(memory, head), transposed: true },
      result: { slice: logits, first: 0, stride, element: 'f32' },
    },
  )
  device.launch({
    kernel: CROSS_ENTROPY,
    element: 'f32',
    constants: {},
    bindings: [read(memory.slice(targets)), read(memory.slice(weights)), write(logits), write(memory.slice(tokenLosses))],
    params: packParams(CrossEntropyParams, {
      rows,
      vocabulary,
      stride,
      firstToken: first,
      gradient: gradient ? 1 : 0,
      half: left.element === 'f16' ? 1 : 0,
    }),
    grid: gridOf(rows),
  })
}

function addGradients(
  { device, memory, input, logits, stride, first, rows }: Chunk,
  dHidden: Tensor,
  dHead: MatrixProduct['result'],
  accumulate: boolean,
): void {
  const [vocabulary, width] = input.head.shape
  const hidden = tensorMatrix(memory, input.hidden, first)
  const { element } = hidden
  const change = { slice: logits, first: 0, stride: element === 'f16' ? 2 * stride : stride }
  const host = { device, memory }
  multiply(host, {
    rows,
    columns: width,
    depth: vocabulary,
    element,
    left: change,
    right: tensorMatrix(memory, input.head),
    result: tensorMatrix(memory, dHidden, first),
  })
  multiply(host, {
    rows: vocabulary,
    columns: width,
    depth: rows,
    element,
    left: { ...change, transposed: true },
    right: hidden,
    result: dHead,
    accumulate,
  })
}

/** f32 [1], the same bits each time. */
function weightedSum({ device, memory }: OpHost, tokenLosses: Tensor, weights: Tensor): Tensor {
  const loss = memory.make([1], 'f32')
  device.launch({
    kernel: CROSS_ENTROPY_TOTAL,
    element: 'f32',
    constants: {},
    bindings: [read(memory.slice(tokenLosses)), read(memory.slice(weights)), write(memory.slice(loss))],
    params: packParams(CrossEntropyTotalParams, { tokens: tokenLosses.shape[0] }),
    grid: [1, 1, 1],
  })
  return loss
}
