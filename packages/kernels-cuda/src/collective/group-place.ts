import { InvalidConfigError } from '@phsa/core'

/** A process's place in a group of several, each with a GPU of its own. */
export interface CollectiveOptions {
  /** This process, from 0. */
  readonly rank: number
  /** Processes of the group. */
  readonly size: number
  /** Where rank 0 is reached by the others; default 127.0.0.1. */
  readonly address?: string
  /** TCP port that rank 0 listens on; default 29500. */
  readonly port?: number
  /** Time that all ranks have to join; default 300. */
  readonly joinSeconds?: number
  /** A rank that is not heard of for so long has failed, and so has the group; default 30. */
  readonly timeoutSeconds?: number
}

/** Options that are checked, with their defaults. */
export type GroupPlace = Required<CollectiveOptions>

/** A place in a group, and the GPU that goes with it. */
export interface LocalPlace {
  readonly place: GroupPlace
  /** Number of the process on its machine. */
  readonly localRank: number | undefined
}

/** What timers can hold. */
const MOST_SECONDS = 2_000_000
const DEFAULTS = { address: '127.0.0.1', port: 29500, joinSeconds: 300, timeoutSeconds: 30 }

/** @throws InvalidConfigError naming the setting */
export function groupPlace(options: CollectiveOptions): GroupPlace {
  const place = { ...DEFAULTS, ...options }
  const { rank, size, port, joinSeconds, timeoutSeconds } = place
  requireInteger('size', size, 1, 2 ** 20)
  requireInteger('rank', rank, 0, size - 1)
  requireInteger('port', port, 1, 65_535)
  for (const [name, seconds] of Object.entries({ joinSeconds, timeoutSeconds })) {
    if (!(seconds > 0 && seconds <= MOST_SECONDS)) {
      throw new InvalidConfigError(
        `collective.${name}`,
        `collective.${name} is ${seconds}; give a number of seconds above 0 and up to ${MOST_SECONDS}.`,
      )
    }
  }
  return place
}

/**
 * The place that a launcher gives in the environment: RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT, as torchrun and the training operators
 * of Kubernetes set them; in an indexed Job of Kubernetes JOB_COMPLETION_INDEX is the rank. A group of one where there is none of these.
 * @throws InvalidConfigError naming the variable
 */
export function environmentPlace(environment: NodeJS.ProcessEnv): LocalPlace {
  const { RANK, JOB_COMPLETION_INDEX, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR, MASTER_PORT } = environment
  const rank = RANK ?? JOB_COMPLETION_INDEX
  const localRank = LOCAL_RANK === undefined ? undefined : integerOf('LOCAL_RANK', LOCAL_RANK)
  if (WORLD_SIZE === undefined && rank === undefined) return { place: groupPlace({ rank: 0, size: 1 }), localRank }
  if (rank === undefined) throw missing('RANK')
  if (WORLD_SIZE === undefined) throw missing('WORLD_SIZE')
  const size = integerOf('WORLD_SIZE', WORLD_SIZE)
  if (size > 1 && MASTER_ADDR === undefined) throw missing('MASTER_ADDR')
  if (size > 1 && MASTER_PORT === undefined) throw missing('MASTER_PORT')
  const port = integerOf('MASTER_PORT', MASTER_PORT ?? `${DEFAULTS.port}`)
  // torchrun may keep the port for a store of its own.
  const isTaken = environment.TORCHELASTIC_USE_AGENT_STORE?.toLowerCase() === 'true'
  return {
    place: groupPlace({ rank: integerOf('RANK', rank), size, address: MASTER_ADDR ?? DEFAULTS.address, port: isTaken ? port + 1 : port }),
    localRank,
  }
}

function requireInteger(name: string, value: number, least: number, most: number): void {
  if (Number.isInteger(value) && value >= least && value <= most) return
  throw new InvalidConfigError(`collective.${name}`, `collective.${name} is ${value}; give an integer from ${least} to ${most}.`)
}

function integerOf(name: string, text: string): number {
  if (/^\d+$/.test(text)) return Number(text)
  throw new InvalidConfigError(name, `${name} is '${text}'; it must be an integer. Is this started by torchrun or the like?`)
}

function missing(name: string): InvalidConfigError {
  return new InvalidConfigError(
    name,
    `collective is 'environment', but ${name} is not set; torchrun and training operators set RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT. Set all of them, or give collective: { rank, size, address, port }.`,
  )
}
