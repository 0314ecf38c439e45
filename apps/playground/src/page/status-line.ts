import { effect } from '@preact/signals-core'
import { byId } from './element.js'
import { count } from './numbers.js'
import type { State } from './state.js'

/** What the page is busy with, and what it computes on. @param onRetry after a failure */
export function showStatus({ status, lab }: State, onRetry: () => void): void {
  const line = byId('status')
  const text = byId('status-text')
  const fill = byId('status-fill')
  const retry = byId('retry')
  const device = byId('device')
  retry.addEventListener('click', onRetry)
  effect(() => {
    const { kind, text: words, share } = status.value
    line.dataset.kind = kind
    text.textContent = words
    fill.style.transform = `scaleX(${share ?? 0})`
    retry.hidden = kind !== 'failed'
    byId('text').setAttribute('aria-busy', String(kind === 'working'))
  })
  effect(() => {
    const found = lab.value
    if (!found) {
      device.textContent = status.value.kind === 'failed' ? '' : 'Looking for a GPU…'
      return
    }
    const place = found.place === 'webgpu' ? 'On your GPU' : 'On your CPU, without WebGPU'
    device.textContent = `${place} · ${(found.parameters / 1e6).toFixed(1)} million parameters`
    device.title = `${found.device}; up to ${count(found.maxPositions)} tokens`
  })
}
