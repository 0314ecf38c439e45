import { type AttentionBackend, CONTRACT_VERSION, type Support } from './contract/attention-backend.js'
import type { AttentionSpec } from './contract/attention-spec.js'
import { BackendUnavailableError } from './errors/backend-unavailable-error.js'
import { ContractVersionError } from './errors/contract-version-error.js'
import { isPhsaError } from './errors/phsa-error.js'

/**
 * The first backend that works here and supports the spec. Picks once; later failures are errors, never a silent change of backend.
 * Backends that were made and then refused are disposed.
 * @param factories in order of preference, for instance `[() => cuda(), () => webgpu(), () => tfjs()]`
 * @throws BackendUnavailableError listing the reason of each; any other error of a factory is passed on
 */
export async function firstSupported<B extends AttentionBackend>(
  spec: AttentionSpec,
  factories: readonly (() => Promise<B>)[],
): Promise<B> {
  const reasons: string[] = []
  for (const factory of factories) {
    let backend: B
    try {
      backend = await factory()
    } catch (error) {
      if (!isPhsaError(error, 'backend-unavailable')) throw error
      reasons.push(error.message)
      continue
    }
    const support = supportOf(backend, spec)
    if (support.ok) return backend
    reasons.push(`${backend.name}: ${support.reason}`)
    backend.dispose()
  }
  throw new BackendUnavailableError(
    reasons.length === 0
      ? 'no backend was offered; pass at least one factory.'
      : `no backend will do:\n${reasons.map((reason) => `  - ${reason}`).join('\n')}`,
  )
}

/** A backend that fails here reaches no caller, so nobody else could dispose it. */
function supportOf(backend: AttentionBackend, spec: AttentionSpec): Support {
  try {
    assertContract(backend)
    return backend.supports(spec)
  } catch (error) {
    backend.dispose()
    throw error
  }
}

/** @throws ContractVersionError when the backend speaks another version of the contract than this core */
export function assertContract(backend: AttentionBackend): void {
  if (backend.contractVersion === CONTRACT_VERSION) return
  throw new ContractVersionError(
    `backend ${backend.name} implements contract version ${backend.contractVersion}, this @phsa/core has version ${CONTRACT_VERSION}; install releases of both that belong together.`,
  )
}
