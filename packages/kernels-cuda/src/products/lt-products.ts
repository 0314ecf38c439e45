import type { KernelMemory } from '../attention/kernel-host.js'
import { type LtPlan, planProduct, WORKSPACE_BYTES } from './lt-plan.js'
import type { LtDevice, LtSession } from './lt-session.js'
import type { MatrixOperand, MatrixProduct, MatrixProducts } from './matrix-product.js'

/** Plans that are kept: a model has about ten shapes for each number of tokens. */
export const MOST_PLANS = 512
/** Every kernel of cuBLASLt is content with this, bytes. */
const MOST_ALIGNMENT = 16n

/** Matrix products by cuBLASLt, on the device's stream. The same product gives the same bits each time. */
export class LtProducts implements MatrixProducts {
  readonly #session: LtSession
  readonly #device: LtDevice
  readonly #memory: Pick<KernelMemory, 'scratch'>
  readonly #others: MatrixProducts
  /** By shape, the one used longest ago first; undefined where cuBLASLt has no way. */
  readonly #plans = new Map<string, LtPlan | undefined>()
  readonly #one = Float32Array.of(1)
  readonly #zero = Float32Array.of(0)
  #closed = false

  /** @param others computes what cuBLASLt does not */
  constructor(session: LtSession, device: LtDevice, memory: Pick<KernelMemory, 'scratch'>, others: MatrixProducts) {
    this.#session = session
    this.#device = device
    this.#memory = memory
    this.#others = others
  }

  multiply(product: MatrixProduct): void {
    if (product.rows === 0 || product.columns === 0) return
    const plan = product.depth > 0 ? this.#planFor(product) : undefined
    if (!plan) this.#others.multiply(product)
    else if (plan.needsWorkspace) this.#memory.scratch(WORKSPACE_BYTES, ({ address }) => this.#run(product, plan, address, WORKSPACE_BYTES))
    else this.#run(product, plan, 0n, 0)
  }

  close(): void {
    if (this.#closed) return
    this.#closed = true
    for (const plan of this.#plans.values()) plan?.destroy()
    this.#plans.clear()
    this.#session.close()
    this.#others.close()
  }

  #run({ left, right, result, accumulate }: MatrixProduct, plan: LtPlan, address: bigint, bytes: number): void {
    const { lt, handle } = this.#session
    const status = this.#device.withStream((stream) =>
      lt.cublasLtMatmul(
        handle,
        plan.description,
        this.#one,
        accumulate ? this.#one : this.#zero,
        { a: right.address, b: left.address, d: result.address },
        plan.layouts,
        plan.algorithm,
        { address, bytes },
        stream,
      ),
    )
    this.#session.check('cublasLtMatmul', status)
  }

  #planFor(product: MatrixProduct): LtPlan | undefined {
    const { rows, columns, depth, dtype, left, right, result } = product
    const alignment = commonAlignment(left, right, result)
    const form = `${left.transposed ? 't' : 'n'}${right.transposed ? 't' : 'n'}`
    const key = `${rows} ${columns} ${depth} ${left.stride} ${right.stride} ${result.stride} ${form} ${dtype} ${result.dtype} ${alignment}`
    const known = this.#plans.has(key)
    const plan = known ? this.#plans.get(key) : this.#device.withStream(() => planProduct(this.#session, product, alignment))
    this.#plans.delete(key)
    this.#plans.set(key, plan)
    if (this.#plans.size > MOST_PLANS) this.#dropOldest()
    return plan
  }

  /** What is queued with a plan has no more need of it. */
  #dropOldest(): void {
    for (const [key, plan] of this.#plans) {
      this.#plans.delete(key)
      plan?.destroy()
      return
    }
  }
}

/** The largest power of two, at most `MOST_ALIGNMENT`, that divides all addresses. */
function commonAlignment(...operands: readonly MatrixOperand[]): number {
  const bits = operands.reduce((sum, { address }) => sum | address, MOST_ALIGNMENT)
  return Number(bits & -bits)
}
