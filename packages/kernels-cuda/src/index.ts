export * from './cuda.js'
export type { CudaAttentionBackend, DeviceMemory } from './cuda-backend.js'
export type { QueueTimer } from './queue-timer.js'
