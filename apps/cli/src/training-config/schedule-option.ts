import type { SparsityStage } from '@phsa/core'
import { UsageError } from '../usage-error.js'

const FORM =
  'stages are KIND:SHARE with commas between, KIND being dense, a topK such as 2, or a falling one such as 8-2; shares sum to 1. A ! after the share leaves out distillation: dense:0.8,2:0.2!'

/**
 * The stages of a schedule as `--schedule` writes them (spec 7): "dense:0.8,2:0.2". Sparse stages distil unless their share ends in "!".
 * @throws UsageError for another form
 */
export function scheduleStages(text: string): readonly SparsityStage[] {
  return text.split(',').map((part) => parseStage(part.trim()))
}

function parseStage(text: string): SparsityStage {
  const match = /^(?:(dense)|(\d+)(?:-(\d+))?):(\d*\.?\d+)(!?)$/.exec(text)
  if (!match) throw new UsageError(`--schedule has the stage ${JSON.stringify(text)}; ${FORM}.`)
  const [, dense, from, to, share, plain] = match
  if (dense) return { kind: 'dense', share: Number(share) }
  const topK = to === undefined ? Number(from) : { from: Number(from), to: Number(to) }
  return { kind: 'sparse', share: Number(share), topK, distillation: plain === '' }
}
