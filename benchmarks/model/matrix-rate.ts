import type { DType, ModelBackend } from '@phsa/core'
import type { QueueTimer } from '@phsa/kernels-cuda'
import { timing } from '../attention/device-timing.js'
import { NormalPool } from '../attention/normal-pool.js'

/** Products that are timed, after as many that are not. */
const RUNS = 5
/** No row needs the host to be further ahead. */
const MOST_AHEAD = 400
const MOST_PRODUCTS = 1000

/** One large matrix product: its rate, and a way to keep the GPU busy. */
export interface MatrixRate {
  /** FLOP/s. */
  readonly flops: number
  /** Queues products for so many milliseconds (at most 400), so that the host gets ahead of the GPU by as much. */
  occupy(milliseconds: number): void
  dispose(): void
}

/** Measures the product of two square matrices of normal numbers. */
export function measureMatrixRate({ memory, ops }: ModelBackend, timer: QueueTimer, size: number, dtype: DType): MatrixRate {
  const pool = new NormalPool(11)
  const matrix = (seed: number) => memory.upload(pool.take(size * size, seed), [size, size], dtype)
  const [left, right] = [matrix(1), matrix(2)]
  const product = () => memory.scope(() => void ops.linear(left, right))
  for (let run = 0; run < RUNS; run++) product()
  timer.mark()
  for (let run = 0; run < RUNS; run++) {
    product()
    timer.mark()
  }
  const { milliseconds } = timing([...timer.read()])
  return {
    flops: (2 * size ** 3) / (milliseconds / 1e3),
    occupy(wanted) {
      // A clock that is too coarse for the product would ask for any number of them.
      const count = Math.min(MOST_PRODUCTS, Math.ceil(Math.min(MOST_AHEAD, wanted) / milliseconds))
      for (let run = 0; run < count; run++) product()
    },
    dispose() {
      left.dispose()
      right.dispose()
    },
  }
}
