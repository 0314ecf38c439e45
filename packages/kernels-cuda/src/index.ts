export type { CollectiveOptions } from './collective/group-place.js'
export * from './cuda.js'
export type { CudaModelBackend, DeviceMemory } from './cuda-backend.js'
export type { QueueTimer } from './queue-timer.js'
