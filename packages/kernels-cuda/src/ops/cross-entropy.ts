import {
  type CrossEntropyInput,
  type CrossEntropyOutput,
  checkCrossEntropy,
  checkCrossEntropyBackward,
  type ModelOps,
  type Tensor,
} from '@phsa/core'
import type { KernelDevice, KernelMemory } from '../attention/kernel-host.js'
import { packParams } from '../attention/param-layout.js'
import { withinMemory } from '../attention/within-memory.js'
import type { MatrixOperand, MatrixProducts } from '../products/matrix-product.js'
import { AddSumsParams, CrossEntropyParams, CrossEntropyTotalParams } from './op-params.js'
import { productMatrix } from './product-matrix.js'

/** Large chunks add to the gradient of the embedding less often, which reads and writes all of it. */
const LOGITS_BYTES = [2 ** 32, 2 ** 30, 2 ** 28, 2 ** 26]
/** Rows of logits begin at multiples of so many floats: 16 bytes in bf16 too. */
const STRIDE_STEP = 8
/** Chunks of this many tokens fill the tiles of a product. */
const ROW_STEP = 128
/** Of cross_entropy_sm90.cu: thread blocks of a cluster, their threads, and logits that a thread holds: kClusterBlocks, kClusterThreads, kRuns * kRun. */
const CLUSTER_BLOCKS = 8
const CLUSTER_THREADS = 512
const CLUSTER_LOGITS = 5 * 8
const CLUSTER_KERNEL = 'cross_entropy_gradient_sm90'
/** Threads of cross_entropy.cu: kRowThreads, kAddThreads; blocks of the addition, which loop. */
const ROW_THREADS = 1024
const ADD_THREADS = 256
const ADD_BLOCKS = 2048
const FLOAT_BYTES = Float32Array.BYTES_PER_ELEMENT

/** Where gradients go: dHidden is written, dHead added to. */
interface Gradients {
  readonly dHidden: Tensor
  readonly dHead: Tensor
}

/**
 * Cross-entropy fused with the output projection, in chunks of tokens whose logits are in f32; gradients of the logits take their place.
 * @param logitsBytes logits of a chunk at most, the next ones where there is no room
 */
export function crossEntropyOps(
  device: KernelDevice,
  memory: KernelMemory,
  products: MatrixProducts,
  logitsBytes: readonly number[] = LOGITS_BYTES,
): Pick<ModelOps, 'crossEntropy' | 'crossEntropyBackward'> {
  const host = { device, memory, products, logitsBytes }
  return {
    crossEntropy(input) {
      memory.checkOpen()
      checkCrossEntropy(memory.owner, input)
      return memory.scope(() => crossEntropy(host, input))
    },

    crossEntropyBackward(input, dHead) {
      memory.checkOpen()
      checkCrossEntropyBackward(memory.owner, input, dHead)
      return memory.scope(() => {
        const dHidden = memory.make(input.hidden.shape, input.hidden.dtype)
        return { ...crossEntropy(host, input, { dHidden, dHead }), dHidden }
      })
    },
  }
}

/** Where the work is done. */
interface Host {
  readonly device: KernelDevice
  readonly memory: KernelMemory
  readonly products: MatrixProducts
  readonly logitsBytes: readonly number[]
}

function crossEntropy(host: Host, input: CrossEntropyInput, gradients?: Gradients): CrossEntropyOutput {
  const { memory } = host
  const tokens = input.hidden.shape[0]
  const [vocabulary, width] = input.head.shape
  const tokenLosses = memory.make([tokens], 'f32')
  const rowBytes = Math.ceil(vocabulary / STRIDE_STEP) * STRIDE_STEP * FLOAT_BYTES
  // Rounded once, however many chunks add to it.
  const needsSums = (rows: number) => gradients?.dHead.dtype === 'bf16' && rows < tokens
  const scratch = <T>(rows: number, run: (address: bigint) => T): T =>
    memory.scratch(rows * rowBytes + (needsSums(rows) ? vocabulary * width * FLOAT_BYTES : 0), ({ address }) => run(address))
  const amounts = host.logitsBytes.map((bytes) => chunkRows(bytes, rowBytes, tokens))
  // What adds to dHead cannot be tried twice, so it is tried with nothing first.
  const rows = withinMemory(amounts, (amount) => scratch(amount, () => amount))
  scratch(rows, (logits) => {
    const sums = needsSums(rows) ? logits + BigInt(rows * rowBytes) : undefined
    const work = { ...host, input, tokenLosses, logits, stride: rowBytes / FLOAT_BYTES }
    for (let first = 0; first < tokens; first += rows) {
      const chunk = { first, rows: Math.min(rows, tokens - first) }
      lossesOfChunk(work, chunk, gradients !== undefined)
      if (gradients) addGradients(work, chunk, gradients, sums)
    }
    if (gradients && sums !== undefined) addSums(host, sums, gradients.dHead, vocabulary * width)
  })
  return { loss: weightedSum(host, tokenLosses, input.weights), tokenLosses }
}

/** Tokens a chunk: all, or as many as find room. */
function chunkRows(bytes: number, rowBytes: number, tokens: number): number {
  const fitting = Math.floor(bytes / Math.max(1, rowBytes))
  return Math.min(tokens, fitting > ROW_STEP ? fitting - (fitting % ROW_STEP) : Math.max(1, fitting))
}

interface Work extends Host {
  readonly input: CrossEntropyInput
  readonly tokenLosses: Tensor
  /** f32 [rows, stride], with gradients then of the activations' type at the beginning of each row. */
  readonly logits: bigint
  readonly stride: number
}

interface Chunk {
  readonly first: number
  readonly rows: number
}

function lossesOfChunk(
  { device, memory, products, input, tokenLosses, logits, stride }: Work,
  { first, rows }: Chunk,
  gradient: boolean,
): void {
  const { hidden, head, targets, weights } = input
  const [vocabulary, width] = head.shape
  const left = productMatrix(memory, hidden, first)
  products.multiply({
    rows,
    columns: vocabulary,
    depth: width,
    dtype: left.dtype,
    left,
    right: { ...productMatrix(memory, head), transposed: true },
    result: { address: logits, stride, dtype: 'f32' },
  })
  const ofToken = (tensor: Tensor) => memory.address(tensor) + BigInt(first * FLOAT_BYTES)
  const holdsRows =
    gradient && left.dtype === 'bf16' && vocabulary <= CLUSTER_BLOCKS * CLUSTER_THREADS * CLUSTER_LOGITS && device.hasKernel(CLUSTER_KERNEL)
  const baseline = gradient ? `cross_entropy_gradient_${left.dtype}` : 'cross_entropy_loss'
  device.launch({
    ...(holdsRows
      ? { kernel: CLUSTER_KERNEL, grid: [rows * CLUSTER_BLOCKS, 1, 1], block: CLUSTER_THREADS }
      : { kernel: baseline, grid: [rows, 1, 1], block: ROW_THREADS }),
    params: packParams(CrossEntropyParams, {
      logits,
      targets: ofToken(targets),
      weights: ofToken(weights),
      tokenLosses: ofToken(tokenLosses),
      stride,
      vocabulary,
    }),
  })
}

/** @param sums f32 [V, E] that stand in for dHead, written by the first chunk */
function addGradients(
  { memory, products, input, logits, stride }: Work,
  { first, rows }: Chunk,
  { dHidden, dHead }: Gradients,
  sums: bigint | undefined,
): void {
  const [vocabulary, width] = input.head.shape
  const hidden = productMatrix(memory, input.hidden, first)
  const { dtype } = hidden
  const change: MatrixOperand = { address: logits, stride: dtype === 'bf16' ? 2 * stride : stride }
  products.multiply({
    rows,
    columns: width,
    depth: vocabulary,
    dtype,
    left: change,
    right: productMatrix(memory, input.head),
    result: productMatrix(memory, dHidden, first),
  })
  products.multiply({
    rows: vocabulary,
    columns: width,
    depth: rows,
    dtype,
    left: { ...change, transposed: true },
    right: hidden,
    result: sums === undefined ? productMatrix(memory, dHead) : { address: sums, stride: width, dtype: 'f32' },
    accumulate: sums === undefined || first > 0,
  })
}

function addSums({ device, memory }: Host, sums: bigint, target: Tensor, count: number): void {
  device.launch({
    kernel: 'add_sums_bf16',
    grid: [Math.min(ADD_BLOCKS, Math.ceil(count / ADD_THREADS)), 1, 1],
    block: ADD_THREADS,
    params: packParams(AddSumsParams, { sums, target: memory.address(target), count }),
  })
}

/** f32 [1], the same bits each time. */
function weightedSum({ device, memory }: Host, tokenLosses: Tensor, weights: Tensor): Tensor {
  const loss = memory.make([1], 'f32')
  device.launch({
    kernel: 'cross_entropy_total',
    grid: [1, 1, 1],
    block: ROW_THREADS,
    params: packParams(CrossEntropyTotalParams, {
      tokenLosses: memory.address(tokenLosses),
      weights: memory.address(weights),
      loss: memory.address(loss),
      tokens: tokenLosses.shape[0],
    }),
  })
  return loss
}
