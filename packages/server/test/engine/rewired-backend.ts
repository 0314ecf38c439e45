import type { ModelBackend } from '@phsa/core'

/** A backend whose parts can be replaced. */
export function rewired(plain: ModelBackend, parts: Partial<ModelBackend>): ModelBackend {
  return {
    ...plain,
    supports: (spec) => plain.supports(spec),
    prepare: (specs) => plain.prepare(specs),
    dispose: () => plain.dispose(),
    ...parts,
  }
}
