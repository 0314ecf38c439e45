import { setTimeout as sleep } from 'node:timers/promises'
import { groupPlace } from '../../packages/kernels-cuda/src/collective/group-place.js'
import { joinGroup } from '../../packages/kernels-cuda/src/collective/join-group.js'
import { loadCudaDriver } from '../../packages/kernels-cuda/src/driver/cuda-driver.js'
import { findNccl } from '../../packages/kernels-cuda/src/driver/find-nccl.js'
import { NcclResult, nonBlockingConfig, UNIQUE_ID_BYTES } from '../../packages/kernels-cuda/src/driver/nccl-config.js'

const F32 = 7
const SUM = 0
const NON_BLOCKING_STREAM = 1
const TIMED_EVENT = 0

/** NCCL called back to back on a stream of its own, without anything of ours: what our all-reduce is compared with. */
export interface NcclAlone {
  readonly version: number
  /** Milliseconds of each of so many sums of that many bytes. */
  measure(bytes: number, times: number): number[]
  close(): Promise<void>
}

/** A second communicator beside the backend's, in the same context. */
export async function ncclAlone(rank: number, size: number, port: number): Promise<NcclAlone> {
  const [driver, nccl] = [loadCudaDriver(), findNccl()]
  const must = (call: string, result: number, ...allowed: number[]) => {
    if (result !== 0 && !allowed.includes(result)) throw new Error(`${call}: result ${result}`)
  }
  const make = (call: string, create: (handle: BigUint64Array) => number) => {
    const handle = new BigUint64Array(1)
    must(call, create(handle), NcclResult.inProgress)
    return handle[0]
  }
  const version = new Int32Array(1)
  must('ncclGetVersion', nccl.ncclGetVersion(version))
  const group = await joinGroup(groupPlace({ rank, size, port }), () => {
    const id = new Uint8Array(UNIQUE_ID_BYTES)
    must('ncclGetUniqueId', nccl.ncclGetUniqueId(id))
    return id
  })
  const isDone = (call: string) => {
    const state = new Int32Array(1)
    must(call, nccl.ncclCommGetAsyncError(communicator, state))
    must(call, state[0], NcclResult.inProgress)
    return state[0] === NcclResult.success
  }
  const communicator = make('ncclCommInitRankConfig', (handle) =>
    nccl.ncclCommInitRankConfig(handle, size, group.shared, rank, nonBlockingConfig()),
  )
  while (!isDone('ncclCommInitRankConfig')) await sleep(1)
  const stream = make('cuStreamCreate', (handle) => driver.cuStreamCreate(handle, NON_BLOCKING_STREAM))
  return {
    version: version[0],
    measure(bytes, times) {
      const address = make('cuMemAlloc', (handle) => driver.cuMemAlloc(handle, bytes))
      must('cuMemsetD8Async', driver.cuMemsetD8Async(address, 0, bytes, stream))
      const events = Array.from({ length: times + 1 }, () => make('cuEventCreate', (handle) => driver.cuEventCreate(handle, TIMED_EVENT)))
      const reduce = () => {
        must('ncclAllReduce', nccl.ncclAllReduce(address, address, bytes / 4, F32, SUM, communicator, stream), NcclResult.inProgress)
        while (!isDone('ncclAllReduce'));
      }
      for (let warm = 0; warm < 3; warm++) reduce()
      must('cuEventRecord', driver.cuEventRecord(events[0], stream))
      for (const event of events.slice(1)) {
        reduce()
        must('cuEventRecord', driver.cuEventRecord(event, stream))
      }
      must('cuStreamSynchronize', driver.cuStreamSynchronize(stream))
      const milliseconds = events.slice(1).map((event, index) => {
        const elapsed = new Float32Array(1)
        must('cuEventElapsedTime', driver.cuEventElapsedTime(elapsed, events[index], event))
        return elapsed[0]
      })
      for (const event of events) must('cuEventDestroy', driver.cuEventDestroy(event))
      must('cuMemFree', driver.cuMemFree(address))
      return milliseconds
    },
    async close() {
      must('ncclCommFinalize', nccl.ncclCommFinalize(communicator), NcclResult.inProgress)
      while (!isDone('ncclCommFinalize')) await sleep(1)
      must('ncclCommDestroy', await nccl.ncclCommDestroy(communicator))
      must('cuStreamDestroy', driver.cuStreamDestroy(stream))
      group.leave()
    },
  }
}
