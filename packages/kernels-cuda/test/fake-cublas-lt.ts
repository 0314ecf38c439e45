import { type CublasLt, HEURISTIC_BYTES, type MatmulLayouts } from '../src/driver/cublas-lt.js'

/** What a fake cuBLASLt is like. */
export interface FakeLibrary {
  readonly version?: readonly [number, number]
  /** Whether there is an algorithm for what is asked. */
  readonly knowsAll?: boolean
  /** Workspace that its algorithms ask for, bytes. */
  readonly workspaceBytes?: number
}

/** A product as it was queued. */
export interface FakeMatmul {
  readonly transposed: { readonly a: boolean; readonly b: boolean }
  /** Rows, columns, stride, type of a, b and d, columns first. */
  readonly layouts: readonly (readonly number[])[]
  readonly operands: readonly bigint[]
  readonly beta: number
  readonly workspaceBytes: number
  readonly stream: bigint
}

type Kind = 'handle' | 'description' | 'layout' | 'preference'

/** cuBLASLt without a GPU: it keeps books of what is made and destroyed, computes nothing, and fails where it is told to. */
export class FakeCublasLt implements CublasLt {
  readonly library: Required<FakeLibrary>
  /** Name of every call, in order. */
  readonly calls: string[] = []
  /** Statuses that calls will have, first come first served, by name; where there are none they succeed. */
  readonly failures = new Map<string, number[]>()
  readonly matmuls: FakeMatmul[] = []
  /** What is made and not destroyed. */
  readonly alive = new Map<bigint, Kind>()
  readonly #layouts = new Map<bigint, readonly number[]>()
  readonly #transposed = new Map<bigint, { a: boolean; b: boolean }>()
  #next = 0n

  constructor(library: FakeLibrary = {}) {
    this.library = { version: [13, 1], knowsAll: true, workspaceBytes: 0, ...library }
  }

  /** Calls of a name. */
  count(call: string): number {
    return this.calls.filter((other) => other === call).length
  }

  cublasLtGetProperty(property: number, value: Int32Array): number {
    value[0] = this.library.version[property]
    return this.#status('cublasLtGetProperty')
  }

  cublasLtCreate(handle: BigUint64Array): number {
    return this.#make('cublasLtCreate', 'handle', handle)
  }

  cublasLtDestroy(handle: bigint): number {
    return this.#destroy('cublasLtDestroy', 'handle', handle)
  }

  cublasLtMatmulDescCreate(description: BigUint64Array): number {
    const status = this.#make('cublasLtMatmulDescCreate', 'description', description)
    this.#transposed.set(description[0], { a: false, b: false })
    return status
  }

  cublasLtMatmulDescDestroy(description: bigint): number {
    return this.#destroy('cublasLtMatmulDescDestroy', 'description', description)
  }

  cublasLtMatmulDescSetAttribute(description: bigint, attribute: number, [value]: Int32Array): number {
    const transposed = this.#transposed.get(description)
    if (transposed) transposed[attribute === 3 ? 'a' : 'b'] = value === 1
    return this.#status('cublasLtMatmulDescSetAttribute')
  }

  cublasLtMatrixLayoutCreate(layout: BigUint64Array, type: number, rows: number, columns: number, stride: number): number {
    const status = this.#make('cublasLtMatrixLayoutCreate', 'layout', layout)
    this.#layouts.set(layout[0], [rows, columns, stride, type])
    return status
  }

  cublasLtMatrixLayoutDestroy(layout: bigint): number {
    return this.#destroy('cublasLtMatrixLayoutDestroy', 'layout', layout)
  }

  cublasLtMatmulPreferenceCreate(preference: BigUint64Array): number {
    return this.#make('cublasLtMatmulPreferenceCreate', 'preference', preference)
  }

  cublasLtMatmulPreferenceDestroy(preference: bigint): number {
    return this.#destroy('cublasLtMatmulPreferenceDestroy', 'preference', preference)
  }

  cublasLtMatmulPreferenceSetAttribute(): number {
    return this.#status('cublasLtMatmulPreferenceSetAttribute')
  }

  cublasLtMatmulAlgoGetHeuristic(
    _handle: bigint,
    _description: bigint,
    _layouts: MatmulLayouts,
    _preference: bigint,
    results: Uint8Array,
    found: Int32Array,
  ): number {
    if (results.length !== HEURISTIC_BYTES) throw new Error('room for one result is expected')
    new DataView(results.buffer).setBigUint64(64, BigInt(this.library.workspaceBytes), true)
    found[0] = this.library.knowsAll ? 1 : 0
    return this.#status('cublasLtMatmulAlgoGetHeuristic')
  }

  cublasLtMatmul(
    handle: bigint,
    description: bigint,
    _alpha: Float32Array,
    [beta]: Float32Array,
    operands: MatmulLayouts,
    layouts: MatmulLayouts,
    algorithm: Uint8Array,
    workspace: { readonly bytes: number },
    stream: bigint,
  ): number {
    const used = [layouts.a, layouts.b, layouts.d]
    for (const object of [handle, description, ...used]) if (!this.alive.has(object)) throw new Error('something destroyed is used')
    if (algorithm.length !== 64) throw new Error('an algorithm has 64 bytes')
    this.matmuls.push({
      transposed: { a: false, b: false, ...this.#transposed.get(description) },
      layouts: used.map((layout) => this.#layouts.get(layout) ?? []),
      operands: [operands.a, operands.b, operands.d],
      beta,
      workspaceBytes: workspace.bytes,
      stream,
    })
    return this.#status('cublasLtMatmul')
  }

  cublasLtGetStatusName(status: number): string {
    return `STATUS_${status}`
  }

  cublasLtGetStatusString(status: number): string {
    return `what ${status} means`
  }

  #make(call: string, kind: Kind, handle: BigUint64Array): number {
    const status = this.#status(call)
    if (status !== 0) return status
    handle[0] = ++this.#next
    this.alive.set(handle[0], kind)
    return status
  }

  #destroy(call: string, kind: Kind, handle: bigint): number {
    if (this.alive.get(handle) !== kind) throw new Error(`${call} of no ${kind}`)
    this.alive.delete(handle)
    return this.#status(call)
  }

  #status(call: string): number {
    this.calls.push(call)
    return this.failures.get(call)?.shift() ?? 0
  }
}
