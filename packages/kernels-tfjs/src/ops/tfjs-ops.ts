import type { ModelOps } from '@phsa/core'
import type { TfjsMemory } from '../memory/tfjs-memory.js'
import { crossEntropyOps } from './cross-entropy.js'
import { elementwiseOps } from './elementwise.js'
import { embeddingOps } from './embedding.js'
import { linearOps } from './linear.js'
import { optimizerOps } from './optimizer.js'
import { qkNormRopeOps } from './qk-norm-rope.js'
import { rmsNormOps } from './rms-norm.js'
import { sampleOps } from './sample.js'

/** `ModelOps` on one TensorFlow.js engine. */
export function tfjsOps(memory: TfjsMemory): ModelOps {
  return {
    ...embeddingOps(memory),
    ...rmsNormOps(memory),
    ...linearOps(memory),
    ...qkNormRopeOps(memory),
    ...elementwiseOps(memory),
    ...crossEntropyOps(memory),
    ...optimizerOps(memory),
    ...sampleOps(memory),
  }
}
