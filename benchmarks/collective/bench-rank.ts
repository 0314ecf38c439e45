import { setTimeout as sleep } from 'node:timers/promises'
import { type Collective, isPhsaError } from '@phsa/core'
import { type CudaModelBackend, cuda } from '@phsa/kernels-cuda'
import { checkSums } from './collective-checks.js'
import { ncclAlone } from './nccl-alone.js'

/** One size of all-reduce, ours and NCCL by itself, milliseconds and gigabytes a second over the bus: 2 (n - 1) / n bytes for each byte summed. */
export interface TransferRow {
  readonly bytes: number
  readonly tensors: number
  readonly ours: Rate
  /** For one tensor: NCCL sums no list. */
  readonly nccl?: Rate
  readonly share?: number
}

interface Rate {
  readonly milliseconds: number
  readonly spread: readonly [number, number]
  readonly busGigabytes: number
}

/** An all-reduce beside matrix products: alone, alone, and at once. Milliseconds. */
export interface Overlap {
  readonly reduce: number
  readonly compute: number
  readonly both: number
}

/** What a rank found out, for the process that started it. */
export type RankReport =
  | { readonly kind: 'joined'; readonly seconds: number; readonly device: string; readonly nccl: number }
  | { readonly kind: 'sums'; readonly faults: readonly string[] }
  | { readonly kind: 'transfer'; readonly row: TransferRow }
  | { readonly kind: 'overlap'; readonly overlap: Overlap }
  /** Sums are under way that the other ranks take no part in. */
  | { readonly kind: 'waiting' }
  | { readonly kind: 'lost'; readonly reason: string; readonly download: string }

const MIB = 2 ** 20
const TIMES = 20
const ROUNDS = 3
/** Side of the matrices of the load. */
const SIDE = 8192
const PRODUCTS = 4

/** One rank: joins, measures unless told to only wait, and waits for the other to fail. */
export async function benchRank({
  ports,
  small,
  timeoutSeconds,
}: {
  readonly ports: readonly number[]
  readonly small: boolean
  readonly timeoutSeconds: number
}): Promise<void> {
  const say = (report: RankReport) => console.log(JSON.stringify(report))
  const [rank, size] = [Number(process.env.RANK), Number(process.env.WORLD_SIZE)]
  const started = performance.now()
  const backend = await cuda({ device: Number(process.env.LOCAL_RANK), collective: { rank, size, port: ports[0], timeoutSeconds } })
  const collective = backend.collective!
  const seconds = (performance.now() - started) / 1000
  if (ports.length > 1) {
    const alone = await ncclAlone(rank, size, ports[1])
    say({ kind: 'joined', seconds, device: backend.device, nccl: alone.version })
    say({ kind: 'sums', faults: await checkSums(backend.memory, collective) })
    for (const [bytes, tensors] of small
      ? [
          [16 * MIB, 1],
          [16 * MIB, 16],
        ]
      : [
          [MIB, 1],
          [32 * MIB, 1],
          [1024 * MIB, 1],
          [1024 * MIB, 256],
        ]) {
      const ours: number[] = []
      const theirs: number[] = []
      for (let round = 0; round < ROUNDS; round++) {
        ours.push(...(await measureOurs(backend, collective, bytes, tensors)))
        if (tensors === 1) theirs.push(...alone.measure(bytes, TIMES))
      }
      const [our, nccl] = [ours, theirs].map((times) => rateOf(times, bytes, size))
      const compared = tensors === 1 ? { nccl, share: our.busGigabytes / nccl.busGigabytes } : {}
      say({ kind: 'transfer', row: { bytes, tensors, ours: our, ...compared } })
    }
    await alone.close()
    say({ kind: 'overlap', overlap: await measureOverlap(backend, collective, (small ? 16 : 1024) * MIB) })
  } else {
    say({ kind: 'joined', seconds, device: backend.device, nccl: 0 })
  }
  await waitForLoss(backend, collective, say)
}

async function measureOurs(backend: CudaModelBackend, collective: Collective, bytes: number, count: number): Promise<number[]> {
  const { memory } = backend
  const tensors = Array.from({ length: count }, () => memory.alloc([bytes / count / 4], 'f32'))
  const times = await markedTimes(backend, () => collective.allReduce(tensors).wait())
  for (const tensor of tensors) tensor.dispose()
  return times
}

/** Times on the GPU of runs one behind the other. */
async function markedTimes(backend: CudaModelBackend, run: () => void): Promise<number[]> {
  const last = backend.memory.alloc([1], 'f32')
  const timer = backend.createTimer()
  for (let warm = 0; warm < 3; warm++) run()
  timer.mark()
  for (let time = 0; time < TIMES; time++) {
    run()
    timer.mark()
  }
  // The timer blocks this thread, on which the ranks hear of each other; this does not.
  await backend.memory.download(last)
  last.dispose()
  const times = [...timer.read()]
  timer.dispose()
  return times
}

async function measureOverlap(backend: CudaModelBackend, collective: Collective, bytes: number): Promise<Overlap> {
  const { memory, ops } = backend
  const [x, weight] = [1, 2].map(() => memory.alloc([SIDE, SIDE], 'bf16'))
  const reduced = memory.alloc([bytes / 4], 'f32')
  const compute = () => {
    for (let product = 0; product < PRODUCTS; product++) memory.scope(() => void ops.linear(x, weight))
  }
  const timesOf = async (run: () => void) => median(await markedTimes(backend, run))
  const overlap = {
    reduce: await timesOf(() => collective.allReduce([reduced]).wait()),
    compute: await timesOf(compute),
    both: await timesOf(() => {
      const ticket = collective.allReduce([reduced])
      compute()
      ticket.wait()
    }),
  }
  for (const tensor of [x, weight, reduced]) tensor.dispose()
  return overlap
}

/** Rank 0 waits for a sum that the other rank never joins; who is stopped says nothing any more. */
async function waitForLoss(backend: CudaModelBackend, collective: Collective, say: (report: RankReport) => void): Promise<void> {
  const tensor = backend.memory.alloc([MIB], 'f32')
  // A process lives as long as it has something to do.
  const alive = setInterval(() => {}, 1000)
  let download = 'none was asked for'
  if (collective.rank === 0) {
    collective.allReduce([tensor]).wait()
    backend.memory.download(tensor).then(
      () => {
        download = 'it arrived'
      },
      (error: unknown) => {
        download = isPhsaError(error) ? error.code : String(error)
      },
    )
  }
  say({ kind: 'waiting' })
  const { message } = await backend.lost
  // The download is told on another turn.
  for (let turns = 0; turns < 100 && download === 'none was asked for' && collective.rank === 0; turns++) await sleep(50)
  say({ kind: 'lost', reason: message, download })
  clearInterval(alive)
  backend.dispose()
}

function rateOf(times: readonly number[], bytes: number, size: number): Rate {
  const milliseconds = median(times)
  return {
    milliseconds,
    spread: [Math.min(...times), Math.max(...times)],
    busGigabytes: (((2 * (size - 1)) / size) * bytes) / 1e6 / milliseconds,
  }
}

function median(times: readonly number[]): number {
  return [...times].sort((a, b) => a - b)[Math.floor(times.length / 2)] ?? Number.NaN
}
