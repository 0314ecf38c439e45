import {
  type Attention,
  type AttentionSpec,
  type BackendLimits,
  BackendLostError,
  CONTRACT_VERSION,
  checkSpec,
  type ModelBackend,
  type ModelOps,
  type PagedAttention,
  type Support,
  validSpec,
} from '@phsa/core'
import { tfjsAttention } from './attention/tfjs-attention.js'
import type { Engine } from './engine.js'
import { TfjsMemory } from './memory/tfjs-memory.js'
import { tfjsOps } from './ops/tfjs-ops.js'
import { tfjsPaged } from './paged/tfjs-paged.js'

/** `ModelBackend` on one TensorFlow.js engine. */
export class TfjsBackend implements ModelBackend {
  readonly contractVersion = CONTRACT_VERSION
  readonly name = 'tfjs'
  readonly device: string
  readonly limits: BackendLimits = { dtypes: ['f32'], blocking: true }
  readonly memory: TfjsMemory
  readonly attention: Attention
  readonly paged: PagedAttention
  readonly ops: ModelOps
  readonly lost: Promise<BackendLostError>

  constructor(engine: Pick<Engine, 'device' | 'run' | 'lost' | 'settled'>) {
    this.device = engine.device
    // Most engines compute in this process, where nothing can be lost.
    const reason = engine.lost ?? new Promise<string>(() => {})
    this.lost = reason.then((message) => new BackendLostError(`the device of ${this.device} is gone: ${message} Make a new backend.`))
    this.memory = new TfjsMemory(engine, this)
    void this.lost.then((error) => this.memory.loseDevice(error))
    this.attention = tfjsAttention(this.memory)
    this.paged = tfjsPaged(this.memory)
    this.ops = tfjsOps(this.memory)
  }

  supports(spec: AttentionSpec): Support {
    return validSpec(spec, this.limits.dtypes)
  }

  async prepare(specs: readonly AttentionSpec[]): Promise<void> {
    this.memory.checkOpen()
    for (const spec of specs) checkSpec(this.memory.owner, spec)
  }

  dispose(): void {
    this.memory.close()
  }
}
