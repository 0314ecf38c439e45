import { BackendUnavailableError } from '@phsa/core'
import koffi, { type LibraryHandle } from 'koffi'
import type { Handle } from './cuda-driver.js'

/**
 * The native boundary to NVIDIA's library of matrix products: every function of cuBLASLt that this package calls, by its own name. Functions return a
 * cublasStatus_t (0 is success) and leave results in the typed arrays they are given. Tests implement it without a GPU.
 */
export interface CublasLt {
  /** @param property 0 major version, 1 minor version, 2 patch level */
  cublasLtGetProperty(property: number, value: Int32Array): number
  /** In the context that is current on this thread. */
  cublasLtCreate(handle: BigUint64Array): number
  cublasLtDestroy(handle: Handle): number
  cublasLtMatmulDescCreate(description: BigUint64Array, computeType: number, scaleType: number): number
  cublasLtMatmulDescDestroy(description: Handle): number
  cublasLtMatmulDescSetAttribute(description: Handle, attribute: number, value: Int32Array): number
  /** Columns of `rows` elements, `stride` elements apart. */
  cublasLtMatrixLayoutCreate(layout: BigUint64Array, type: number, rows: number, columns: number, stride: number): number
  cublasLtMatrixLayoutDestroy(layout: Handle): number
  cublasLtMatmulPreferenceCreate(preference: BigUint64Array): number
  cublasLtMatmulPreferenceDestroy(preference: Handle): number
  cublasLtMatmulPreferenceSetAttribute(preference: Handle, attribute: number, value: Uint32Array | BigUint64Array): number
  /** @param results cublasLtMatmulHeuristicResult_t, `HEURISTIC_BYTES` each @param found how many there are */
  cublasLtMatmulAlgoGetHeuristic(
    handle: Handle,
    description: Handle,
    layouts: MatmulLayouts,
    preference: Handle,
    results: Uint8Array,
    found: Int32Array,
  ): number
  /** d = alpha a b + beta d */
  cublasLtMatmul(
    handle: Handle,
    description: Handle,
    alpha: Float32Array,
    beta: Float32Array,
    operands: { readonly a: Handle; readonly b: Handle; readonly d: Handle },
    layouts: MatmulLayouts,
    algorithm: Uint8Array,
    workspace: { readonly address: Handle; readonly bytes: number },
    stream: Handle,
  ): number
  /** The name of a status, such as CUBLAS_STATUS_NOT_SUPPORTED. */
  cublasLtGetStatusName(status: number): string
  /** The status in words. */
  cublasLtGetStatusString(status: number): string
}

/** Layouts of the operands and the result of a product. */
export interface MatmulLayouts {
  readonly a: Handle
  readonly b: Handle
  readonly d: Handle
}

/** sizeof(cublasLtMatmulHeuristicResult_t): the algorithm, 64 bytes, the workspace it needs, size_t, a status, a float and four reserved words. */
export const HEURISTIC_BYTES = 96

// C types of arguments.
const HANDLE = 'uint64'
const SIZE = 'size_t'
const OUT = 'void *'

type BoundFunction = ReturnType<LibraryHandle['func']>

/**
 * Opens cuBLASLt.
 * @throws Error of the loader where there is no such file; BackendUnavailableError where it lacks a function
 */
export function loadCublasLt(file: string): CublasLt {
  const library = koffi.load(file)
  const bind = (name: string, returns: string, ...parameters: string[]): BoundFunction => {
    try {
      return library.func(name, returns, parameters)
    } catch (cause) {
      throw new BackendUnavailableError(`cuda: ${file} has no ${name}; it is no cuBLASLt, or one too old.`, { cause })
    }
  }
  const setDescription = bind('cublasLtMatmulDescSetAttribute', 'int', HANDLE, 'int', OUT, SIZE)
  const setPreference = bind('cublasLtMatmulPreferenceSetAttribute', 'int', HANDLE, 'int', OUT, SIZE)
  const heuristic = bind('cublasLtMatmulAlgoGetHeuristic', 'int', ...Array<string>(7).fill(HANDLE), 'int', OUT, OUT)
  const matmul = bind(
    'cublasLtMatmul',
    'int',
    HANDLE,
    HANDLE,
    OUT,
    ...Array<string>(4).fill(HANDLE),
    OUT,
    ...Array<string>(4).fill(HANDLE),
    OUT,
    HANDLE,
    SIZE,
    HANDLE,
  )
  return {
    cublasLtGetProperty: bind('cublasLtGetProperty', 'int', 'int', OUT),
    cublasLtCreate: bind('cublasLtCreate', 'int', OUT),
    cublasLtDestroy: bind('cublasLtDestroy', 'int', HANDLE),
    cublasLtMatmulDescCreate: bind('cublasLtMatmulDescCreate', 'int', OUT, 'int', 'int'),
    cublasLtMatmulDescDestroy: bind('cublasLtMatmulDescDestroy', 'int', HANDLE),
    cublasLtMatmulDescSetAttribute: (description, attribute, value) => setDescription(description, attribute, value, value.byteLength),
    cublasLtMatrixLayoutCreate: bind('cublasLtMatrixLayoutCreate', 'int', OUT, 'int', 'uint64', 'uint64', 'int64'),
    cublasLtMatrixLayoutDestroy: bind('cublasLtMatrixLayoutDestroy', 'int', HANDLE),
    cublasLtMatmulPreferenceCreate: bind('cublasLtMatmulPreferenceCreate', 'int', OUT),
    cublasLtMatmulPreferenceDestroy: bind('cublasLtMatmulPreferenceDestroy', 'int', HANDLE),
    cublasLtMatmulPreferenceSetAttribute: (preference, attribute, value) => setPreference(preference, attribute, value, value.byteLength),
    cublasLtMatmulAlgoGetHeuristic: (handle, description, { a, b, d }, preference, results, found) =>
      heuristic(handle, description, a, b, d, d, preference, results.length / HEURISTIC_BYTES, results, found),
    cublasLtMatmul: (handle, description, alpha, beta, operands, layouts, algorithm, workspace, stream) =>
      matmul(
        handle,
        description,
        alpha,
        operands.a,
        layouts.a,
        operands.b,
        layouts.b,
        beta,
        operands.d,
        layouts.d,
        operands.d,
        layouts.d,
        algorithm,
        workspace.address,
        workspace.bytes,
        stream,
      ),
    cublasLtGetStatusName: bind('cublasLtGetStatusName', 'str', 'int'),
    cublasLtGetStatusString: bind('cublasLtGetStatusString', 'str', 'int'),
  }
}
