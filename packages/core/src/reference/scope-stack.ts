import type { Tensor } from '../contract/tensor.js'
import { UnsupportedError } from '../errors/unsupported-error.js'

/** Nested scopes of a host-side `Memory`: which live tensors each one made. */
export class ScopeStack {
  readonly #scopes: Set<Tensor>[] = []

  /** A tensor was made: it belongs to the innermost open scope, if any. */
  add(tensor: Tensor): void {
    this.#scopes.at(-1)?.add(tensor)
  }

  /** `Memory.scope`: frees what was made inside and is not part of the result; what is kept belongs to the scope around. */
  run<T>(body: () => T): T {
    const made = new Set<Tensor>()
    this.#scopes.push(made)
    let kept: ReadonlySet<Tensor> = new Set()
    try {
      const result = body()
      if (isPromise(result)) {
        // The flow goes on without its tensors, and fails on its own; that failure is not ours to report a second time.
        result.then(undefined, () => undefined)
        throw new UnsupportedError(
          'asynchronous-scope',
          'scope was given a function that returns a Promise; it must be synchronous. Return the tensors and await their download outside of the scope.',
        )
      }
      kept = tensorsIn(result, made)
      return result
    } finally {
      this.#scopes.pop()
      for (const tensor of made) {
        if (kept.has(tensor)) this.add(tensor)
        else tensor.dispose()
      }
    }
  }
}

function isPromise(value: unknown): value is PromiseLike<unknown> {
  return typeof value === 'object' && value !== null && 'then' in value && typeof value.then === 'function'
}

/** The tensors of `made` that are found in arrays and plain objects, to any depth. */
function tensorsIn(result: unknown, made: ReadonlySet<Tensor>): Set<Tensor> {
  const found = new Set<Tensor>()
  const seen = new Set<object>()
  const visit = (value: unknown) => {
    if (typeof value !== 'object' || value === null || seen.has(value)) return
    seen.add(value)
    if (made.has(value as Tensor)) found.add(value as Tensor)
    else if (Array.isArray(value) || isPlainObject(value)) for (const part of Object.values(value)) visit(part)
  }
  visit(result)
  return found
}

function isPlainObject(value: object): boolean {
  const prototype = Object.getPrototypeOf(value)
  return prototype === Object.prototype || prototype === null
}
