import { wrap } from 'comlink'
import { showChat } from './chat/chat-panel.js'
import type { Lab, Place } from './lab-contract.js'
import { showAskedToken } from './page/asked-token.js'
import { showCards } from './page/cards.js'
import { showCost } from './page/cost.js'
import { showLanes } from './page/lanes.js'
import { showPickers } from './page/pickers.js'
import { showRecall } from './page/recall-figure.js'
import { Session } from './page/session.js'
import { showSliders } from './page/sliders.js'
import { createState } from './page/state.js'
import { showStatus } from './page/status-line.js'
import { chooseText } from './page/text-source.js'
import { showText } from './page/text-view.js'
import { showTiming } from './page/timing-figure.js'
import { keepForOffline } from './reload/keep-for-offline.js'

const place = new URLSearchParams(location.search).get('backend')
const model = new URL('model', document.baseURI).href

const state = createState()
const worker = new Worker(new URL('./worker/lab-worker.ts', import.meta.url), { type: 'module' })
worker.addEventListener('error', () => {
  state.status.value = { kind: 'failed', text: 'The part of the page that computes cannot start; is this browser up to date?' }
})
const lab = wrap<Lab>(worker)
const session = new Session(state, lab, place === 'webgpu' || place === 'wasm' ? (place satisfies Place) : undefined)

showStatus(state, () => void session.open(model))
showText(state)
showAskedToken(state)
showLanes(state)
showSliders(state)
showPickers(state)
showCost(state)
showCards(state)
showRecall(state)
showTiming(state, lab)
showChat(state)
await Promise.all([chooseText(state), session.open(model)])
// After all that the first visit waits for: most of it then comes from the browser's own cache.
await keepForOffline()
