import { attentionSpec, type ModelBackend } from '@phsa/core'
import { describeModel, type LoadedModel, loadModel, type ModelFiles, webFiles } from '@phsa/model'
import type {
  AttentionSettings,
  DocumentTokens,
  HeadLookBack,
  Lab,
  LabDescription,
  LookBackQuestion,
  Place,
  Progress,
  RecallPoint,
  TimedLength,
} from '../lab-contract.js'
import { DocumentAttention } from './document-attention.js'
import { lookBack } from './look-back.js'
import { configOf } from './method-policy.js'
import { openBackend } from './open-backend.js'
import { recallByBudget } from './recall-by-budget.js'
import { timeAttention } from './time-attention.js'
import { tokenTexts } from './token-texts.js'

/** The model, the device and the document that the page works on, in its worker. */
export class WorkerLab implements Lab {
  #loaded: LoadedModel | undefined
  #document: DocumentAttention | undefined
  #last: Promise<unknown> = Promise.resolve()

  open(modelAddress: string, place: Place | undefined, onProgress: (progress: Progress) => void): Promise<LabDescription> {
    return this.#inTurn(async () => {
      this.#close()
      const files = withoutChat(
        webFiles(modelAddress, {
          onProgress: ({ file, received, total }) => {
            if (file === 'model.safetensors') onProgress({ stage: 'model', done: received, total: total ?? 0 })
          },
        }),
      )
      try {
        const { config, phsa } = await describeModel(files)
        onProgress({ stage: 'device', done: 0, total: 0 })
        const backend = await openBackend(attentionSpec(phsa, { ...config, dtype: 'f32' }), place)
        this.#loaded = await loadModel(files, { backend })
        return descriptionOf(this.#loaded, backend)
      } finally {
        await files.close()
      }
    })
  }

  read(text: string, maxTokens: number, onProgress: (progress: Progress) => void): Promise<DocumentTokens> {
    return this.#inTurn(async () => {
      const { model, tokenizer, punctuation } = this.#model()
      if (!tokenizer || !punctuation) throw new Error('The model folder has no tokenizer.json; texts are read with it.')
      onProgress({ stage: 'tokens', done: 0, total: 0 })
      const all = tokenizer.encode(text)
      const ids = all.slice(0, Math.min(maxTokens, model.config.maxPositions))
      if (ids.length === 0) throw new Error('The text is empty; paste or open one with a few hundred words.')
      const marks = punctuation.marks(ids)
      this.#document?.dispose()
      this.#document = undefined
      const total = model.config.layers
      onProgress({ stage: 'layers', done: 0, total })
      this.#document = await DocumentAttention.compute(model, ids, marks, (done) => onProgress({ stage: 'layers', done, total }))
      return { texts: tokenTexts(tokenizer, ids), punctuation: marks, total: all.length }
    })
  }

  lookBack({ settings, query, layer }: LookBackQuestion): Promise<HeadLookBack[]> {
    return this.#inTurn(() => {
      const { model } = this.#model()
      return lookBack({ model, document: this.#read(), phsa: configOf(settings, model.phsa), query, layer })
    })
  }

  measureRecall(settings: AttentionSettings, layer: number): Promise<RecallPoint[]> {
    return this.#inTurn(() => {
      const { model } = this.#model()
      return recallByBudget(model, this.#read(), configOf(settings, model.phsa), layer)
    })
  }

  time(settings: AttentionSettings, length: number, withDense: boolean): Promise<TimedLength> {
    return this.#inTurn(() => {
      const { model } = this.#model()
      return timeAttention(model, configOf(settings, model.phsa), length, withDense)
    })
  }

  /** Calls do not overlap: the document of one would be freed by the next. */
  #inTurn<T>(job: () => Promise<T>): Promise<T> {
    const turn = this.#last.then(job)
    this.#last = turn.catch(() => undefined)
    return turn
  }

  #model(): LoadedModel {
    if (!this.#loaded) throw new Error('No model is open; call open first.')
    return this.#loaded
  }

  #read(): DocumentAttention {
    if (!this.#document) throw new Error('No text was read; call read first.')
    return this.#document
  }

  #close(): void {
    this.#document?.dispose()
    this.#document = undefined
    this.#loaded?.model.dispose()
    this.#loaded?.model.backend.dispose()
    this.#loaded = undefined
  }
}

function descriptionOf({ model }: LoadedModel, backend: ModelBackend): LabDescription {
  const { layers, heads, kvHeads, headDim, maxPositions } = model.config
  return {
    place: backend.name === 'webgpu' ? 'webgpu' : 'wasm',
    device: backend.device,
    parameters: model.parameterCount,
    layers,
    heads,
    kvHeads,
    headDim,
    maxPositions,
    phsa: model.phsa,
  }
}

/** Nobody converses with this model: a chat template is not asked for, which a folder need not have. */
function withoutChat(files: ModelFiles): ModelFiles {
  return { ...files, size: async (name) => (name === 'chat_template.jinja' ? undefined : files.size(name)) }
}
