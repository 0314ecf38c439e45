import { type AttentionSpec, BackendUnavailableError, type ModelBackend } from '@phsa/core'
import { withBackend } from '../backends.js'
import { UsageError } from '../usage-error.js'
import { stayWithLauncher } from './stay-with-launcher.js'

/** Processes that train together, as a launcher says in WORLD_SIZE; 1 without one. @throws UsageError for what is no number */
export function worldSize({ WORLD_SIZE }: NodeJS.ProcessEnv): number {
  if (WORLD_SIZE === undefined) return 1
  if (/^[1-9]\d*$/.test(WORLD_SIZE)) return Number(WORLD_SIZE)
  throw new UsageError(`WORLD_SIZE is ${JSON.stringify(WORLD_SIZE)}; it is the number of processes that train together, from 1.`)
}

/**
 * Whether this process is the one that writes files and speaks, as a launcher says in RANK, or JOB_COMPLETION_INDEX in a Job of Kubernetes. One that
 * trains alone is, whatever its number: pods of a Job may each train a model of their own.
 */
export function isFirstRank(environment: NodeJS.ProcessEnv): boolean {
  const { RANK, JOB_COMPLETION_INDEX } = environment
  return worldSize(environment) === 1 || Number(RANK ?? JOB_COMPLETION_INDEX ?? 0) === 0
}

/**
 * Processes that this one is to start: as many as `--gpus` says, 1 where a launcher has started this one already.
 * @throws UsageError where both say how many there are, and differ
 */
export function ranksToLaunch(gpus: number | undefined, environment: NodeJS.ProcessEnv): number {
  if (gpus === undefined) return 1
  if (environment.WORLD_SIZE === undefined) return gpus
  if (worldSize(environment) === gpus) return 1
  throw new UsageError(
    `--gpus is ${gpus}, but WORLD_SIZE is ${environment.WORLD_SIZE}: a launcher has started this process as one of so many. Leave --gpus out under torchrun and Kubernetes, or unset WORLD_SIZE.`,
  )
}

/**
 * Runs with the backend of a training run, which has joined its group where a launcher has started several processes: then it is CUDA.
 * @throws UsageError for another backend in a group; BackendUnavailableError, and what `withBackend` throws
 */
export async function withTrainingBackend<T>(
  name: string | undefined,
  run: (backend: ModelBackend) => Promise<T>,
  spec?: AttentionSpec,
): Promise<T> {
  const size = worldSize(process.env)
  if (size === 1) return withBackend(name, run, spec)
  stayWithLauncher()
  if (name !== undefined && name !== 'cuda') {
    throw new UsageError(
      `--backend is ${name}, but ${size} processes are to train together, which only cuda can; take --backend cuda, or one process.`,
    )
  }
  const { cuda } = await import('@phsa/kernels-cuda')
  const backend = await cuda({ collective: 'environment' })
  try {
    if (!backend.collective) throw new BackendUnavailableError(`cuda: there is no group, though WORLD_SIZE is ${size}.`)
    return await run(backend)
  } finally {
    backend.dispose()
  }
}
