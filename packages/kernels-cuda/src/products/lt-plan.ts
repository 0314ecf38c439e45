import { HEURISTIC_BYTES, type MatmulLayouts } from '../driver/cublas-lt.js'
import type { Handle } from '../driver/cuda-driver.js'
import { type LtSession, Status } from './lt-session.js'
import type { MatrixProduct, ProductDType } from './matrix-product.js'

/** Memory that an algorithm may ask for, bytes. */
export const WORKSPACE_BYTES = 32 * 2 ** 20

/** How cuBLASLt computes products of one shape. */
export interface LtPlan {
  readonly description: Handle
  readonly layouts: MatmulLayouts
  /** cublasLtMatmulAlgo_t */
  readonly algorithm: Uint8Array
  readonly needsWorkspace: boolean
  destroy(): void
}

/** cudaDataType_t */
const TYPES: Readonly<Record<ProductDType, number>> = { f32: 0, bf16: 14 }
/** CUBLAS_COMPUTE_32F: sums in f32, and operands in f32 stay what they are. */
const COMPUTE_32F = 68
/** CUBLASLT_MATMUL_DESC_TRANSA and TRANSB, with CUBLAS_OP_N or CUBLAS_OP_T. */
const TRANSPOSE = { a: 3, b: 4 } as const
/** CUBLASLT_MATMUL_PREF_... */
const Preference = { workspaceBytes: 1, reductions: 3, alignmentA: 5, alignmentB: 6, alignmentC: 7, alignmentD: 8 } as const
/** CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE: parts of a sum, where there are any, are added up in f32 and in order. */
const REDUCE_IN_F32 = 2
// cublasLtMatmulHeuristicResult_t
const ALGORITHM_BYTES = 64
const WORKSPACE_AT = 64
const STATE_AT = 72

/**
 * Asks cuBLASLt how to compute a product, in a context that is current. It counts matrices in columns, so what is `right` here is its `a`.
 * @param alignment bytes that all addresses are multiples of
 * @returns undefined where it has no way
 */
export function planProduct(session: LtSession, product: MatrixProduct, alignment: number): LtPlan | undefined {
  const { lt } = session
  const { rows, columns, depth, dtype, left, right, result } = product
  const owned: (() => void)[] = []
  const destroy = () => {
    for (const free of owned.splice(0).reverse()) free()
  }
  const own = (what: string, make: (handle: BigUint64Array) => number, free: (handle: Handle) => number): Handle => {
    const handle = session.make(`cublasLt${what}Create`, make)
    owned.push(() => session.check(`cublasLt${what}Destroy`, free(handle)))
    return handle
  }
  const layout = (type: ProductDType, height: number, width: number, stride: number): Handle =>
    own(
      'MatrixLayout',
      (handle) => lt.cublasLtMatrixLayoutCreate(handle, TYPES[type], height, width, stride),
      (handle) => lt.cublasLtMatrixLayoutDestroy(handle),
    )
  try {
    const description = own(
      'MatmulDesc',
      (handle) => lt.cublasLtMatmulDescCreate(handle, COMPUTE_32F, TYPES.f32),
      (handle) => lt.cublasLtMatmulDescDestroy(handle),
    )
    const transpose = (attribute: number, { transposed = false }: { readonly transposed?: boolean }) =>
      session.check(
        'cublasLtMatmulDescSetAttribute',
        lt.cublasLtMatmulDescSetAttribute(description, attribute, Int32Array.of(Number(transposed))),
      )
    transpose(TRANSPOSE.a, right)
    transpose(TRANSPOSE.b, left)
    const layouts = {
      a: right.transposed ? layout(dtype, depth, columns, right.stride) : layout(dtype, columns, depth, right.stride),
      b: left.transposed ? layout(dtype, rows, depth, left.stride) : layout(dtype, depth, rows, left.stride),
      d: layout(result.dtype, columns, rows, result.stride),
    }
    const found = bestAlgorithm(session, description, layouts, alignment)
    if (found) return { description, layouts, ...found, destroy }
    destroy()
    return undefined
  } catch (error) {
    destroy()
    throw error
  }
}

function bestAlgorithm(
  session: LtSession,
  description: Handle,
  layouts: MatmulLayouts,
  alignment: number,
): Pick<LtPlan, 'algorithm' | 'needsWorkspace'> | undefined {
  const { lt } = session
  const preference = session.make('cublasLtMatmulPreferenceCreate', (handle) => lt.cublasLtMatmulPreferenceCreate(handle))
  try {
    const prefer = (attribute: number, value: Uint32Array | BigUint64Array) =>
      session.check('cublasLtMatmulPreferenceSetAttribute', lt.cublasLtMatmulPreferenceSetAttribute(preference, attribute, value))
    prefer(Preference.workspaceBytes, BigUint64Array.of(BigInt(WORKSPACE_BYTES)))
    prefer(Preference.reductions, Uint32Array.of(REDUCE_IN_F32))
    for (const operand of ['alignmentA', 'alignmentB', 'alignmentC', 'alignmentD'] as const) {
      prefer(Preference[operand], Uint32Array.of(alignment))
    }
    const best = new Uint8Array(HEURISTIC_BYTES)
    const count = new Int32Array(1)
    const status = lt.cublasLtMatmulAlgoGetHeuristic(session.handle, description, layouts, preference, best, count)
    if (status === Status.notSupported) return undefined
    session.check('cublasLtMatmulAlgoGetHeuristic', status)
    const view = new DataView(best.buffer)
    if (count[0] === 0 || view.getInt32(STATE_AT, true) !== Status.success) return undefined
    return { algorithm: best.slice(0, ALGORITHM_BYTES), needsWorkspace: view.getBigUint64(WORKSPACE_AT, true) > 0n }
  } finally {
    lt.cublasLtMatmulPreferenceDestroy(preference)
  }
}
