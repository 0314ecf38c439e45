import type { ModelOps } from '@phsa/core'
import type { KernelMemory } from '../attention/kernel-host.js'
import type { MatrixProducts } from '../products/matrix-product.js'
import { adamwOps } from './adamw.js'
import { crossEntropyOps } from './cross-entropy.js'
import { elementwiseOps } from './elementwise.js'
import { embeddingOps } from './embedding.js'
import type { FewRowsDevice } from './few-rows.js'
import { gradientNormOps } from './gradient-norm.js'
import { layerHalvesOps } from './layer-halves.js'
import { linearOps } from './linear.js'
import { qkNormRopeOps } from './qk-norm-rope.js'
import { rmsNormOps } from './rms-norm.js'
import { sampleOps } from './sample.js'

/** `ModelOps` of one GPU: each method checks, makes its results and queues its kernels. Nothing is uploaded, so that steps can be captured. */
export function cudaOps(device: FewRowsDevice, memory: KernelMemory, products: MatrixProducts): ModelOps {
  return {
    ...embeddingOps(device, memory),
    ...rmsNormOps(device, memory),
    ...linearOps(memory, products),
    ...qkNormRopeOps(device, memory),
    ...elementwiseOps(device, memory),
    ...layerHalvesOps(device, memory),
    ...crossEntropyOps(device, memory, products),
    ...gradientNormOps(device, memory),
    ...adamwOps(device, memory),
    ...sampleOps(device, memory),
  }
}
