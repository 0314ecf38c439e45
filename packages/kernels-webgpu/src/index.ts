/// <reference types="@webgpu/types" />
export type { GpuChoice } from './device/find-gpu.js'
export * from './webgpu.js'
export type { WebgpuModelBackend } from './webgpu-backend.js'
