import { BackendUnavailableError, type Collective } from '@phsa/core'
import type { Device } from '../driver/device.js'
import type { Nccl } from '../driver/nccl.js'
import { NcclResult, UNIQUE_ID_BYTES } from '../driver/nccl-config.js'
import type { CudaMemory } from '../memory/cuda-memory.js'
import { Communicator } from './communicator.js'
import { CudaCollective, soloCollective } from './cuda-collective.js'
import type { GroupPlace } from './group-place.js'
import { joinGroup } from './join-group.js'

/** A place in a group, and the library that connects it. */
export interface GroupJoin {
  readonly place: GroupPlace
  readonly findNccl: () => Nccl
}

/** A collective, and what it holds besides memory. */
export interface OpenCollective {
  readonly collective: Collective
  close(): Promise<void>
}

/** f32 elements of the transfers that open NCCL's connections, while all ranks are there: it takes other ways for small and large ones. */
const FIRST_TRANSFERS = [1, 2 ** 22]

/**
 * Joins a group of processes; resolves when all are connected.
 * @throws BackendUnavailableError naming who is missing or what NCCL says
 */
export async function openCollective(device: Device, memory: CudaMemory, { place, findNccl }: GroupJoin): Promise<OpenCollective> {
  if (place.size === 1) return { collective: soloCollective(memory), close: async () => {} }
  const nccl = findNccl()
  const group = await joinGroup(place, () => uniqueId(nccl))
  try {
    const stream = device.openSideStream()
    let communicator: Communicator
    try {
      communicator = await device.withStream(() => Communicator.connect(nccl, group.shared, place, group.failed))
    } catch (error) {
      stream.destroy()
      throw error
    }
    const collective = new CudaCollective({ device, memory, group, communicator, stream })
    try {
      for (const elements of FIRST_TRANSFERS) await collective.firstAllReduce(elements)
      return { collective, close: () => collective.close() }
    } catch (error) {
      // The others first: they wait for this rank, and a group that it had left in good order would go on waiting.
      group.fail(`rank ${place.rank} of ${place.size} could not connect: ${error instanceof Error ? error.message : String(error)}`)
      await communicator.abort()
      await collective.close()
      throw error
    }
  } catch (error) {
    const text = error instanceof Error ? error.message : String(error)
    group.fail(`rank ${place.rank} of ${place.size} could not connect: ${text}`)
    throw new BackendUnavailableError(`cuda: rank ${place.rank} of ${place.size} could not join the group: ${text}.`, { cause: error })
  }
}

function uniqueId(nccl: Nccl): Uint8Array {
  const id = new Uint8Array(UNIQUE_ID_BYTES)
  const result = nccl.ncclGetUniqueId(id)
  if (result === NcclResult.success) return id
  throw new BackendUnavailableError(`cuda: ncclGetUniqueId: ${nccl.ncclGetErrorString(result)} ${nccl.ncclGetLastError()}`)
}
