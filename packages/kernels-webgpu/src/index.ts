// GPUDevice is in no library of TypeScript 5.
/// <reference types="@webgpu/types" preserve="true" />
export type { GpuChoice } from './device/find-gpu.js'
export * from './webgpu.js'
export type { WebgpuModelBackend } from './webgpu-backend.js'
