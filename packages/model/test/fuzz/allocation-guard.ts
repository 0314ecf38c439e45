/** Most bytes of one array: the largest tensor of the corpus has 128 KB, and the largest that its settings can ask for is a table of 16 MiB. */
const MOST_BYTES = 64 * 2 ** 20

const ARRAYS = [
  'ArrayBuffer',
  'Uint8Array',
  'Uint16Array',
  'Int32Array',
  'Uint32Array',
  'Float32Array',
  'Float64Array',
  'BigInt64Array',
  'Array',
] as const

/** What was asked for, and refused. */
export interface AllocationGuard {
  /** The largest that was asked for since the last call, in words; undefined where all were small. */
  taken(): string | undefined
  remove(): void
}

/** Puts itself before the constructors of arrays: one that is asked for too much throws, and is remembered, should someone catch what it throws. */
export function guardAllocations(): AllocationGuard {
  const globals = globalThis as unknown as Record<string, unknown>
  const originals = ARRAYS.map((name) => [name, globals[name] as new (...args: unknown[]) => object] as const)
  let refused: string | undefined
  for (const [name, original] of originals) {
    const bytes = (original as unknown as { BYTES_PER_ELEMENT?: number }).BYTES_PER_ELEMENT ?? (name === 'Array' ? 8 : 1)
    globals[name] = new Proxy(original, {
      construct(target, args: unknown[], newTarget) {
        const [length] = args
        if (typeof length === 'number' && length * bytes > MOST_BYTES) {
          refused = `new ${name}(${length})`
          throw new Error(`${refused} is more than a small input may ask for`)
        }
        return Reflect.construct(target, args, newTarget) as object
      },
    })
  }
  return {
    taken() {
      const taken = refused
      refused = undefined
      return taken
    },
    remove() {
      for (const [name, original] of originals) globals[name] = original
    },
  }
}
