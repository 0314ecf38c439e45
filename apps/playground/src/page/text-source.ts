import { effect } from '@preact/signals-core'
import { byId, element } from './element.js'
import { count } from './numbers.js'
import type { State } from './state.js'
import { usualTokens } from './usual-tokens.js'

/** Texts that come with the page, neither of which the model was trained on. */
const SAMPLES = [
  { file: 'emma.txt', title: 'Emma, chapter IV on' },
  { file: 'factbook-austria.txt', title: 'Factbook: Austria' },
] as const
const OWN = 'own'
const LENGTHS = [512, 1024, 2048, 4096, 8192, 16_384, 32_768]

/** Lets the visitor choose a text: a sample, a file, or what is pasted; and how much of it is read. */
export async function chooseText(state: State): Promise<void> {
  const sample = byId('sample', HTMLSelectElement)
  const length = byId('length', HTMLSelectElement)
  const file = byId('file', HTMLInputElement)
  const dialog = byId('paste-dialog', HTMLDialogElement)
  const pasted = byId('pasted', HTMLTextAreaElement)
  const own = element('option', { value: OWN, hidden: '' }, 'Your text')
  sample.append(...SAMPLES.map(({ file, title }) => element('option', { value: file }, title)), own)

  const take = (text: string) => {
    state.choice.value = { text, maxTokens: state.choice.peek()?.maxTokens }
  }
  const takeOwn = (text: string, title: string) => {
    own.hidden = false
    own.textContent = title
    sample.value = OWN
    take(text)
  }
  const takeSample = async () => {
    try {
      const response = await fetch(`texts/${sample.value}`)
      if (!response.ok) throw new Error(`the server answered ${response.status}`)
      take(await response.text())
    } catch (error) {
      state.status.value = { kind: 'failed', text: `The text cannot be loaded (${(error as Error).message}); open or paste one instead.` }
    }
  }

  sample.addEventListener('change', () => {
    if (sample.value !== OWN) void takeSample()
  })
  length.addEventListener('change', () => {
    const choice = state.choice.peek()
    if (choice) state.choice.value = { ...choice, maxTokens: Number(length.value) }
  })
  file.addEventListener('change', async () => {
    const opened = file.files?.[0]
    if (opened) takeOwn(await opened.text(), opened.name)
    file.value = ''
  })
  byId('paste').addEventListener('click', () => {
    pasted.value = ''
    dialog.showModal()
  })
  dialog.addEventListener('close', () => {
    if (dialog.returnValue === 'read' && pasted.value.trim() !== '') takeOwn(pasted.value, 'Pasted text')
  })
  acceptDrops(byId('text'), (opened) => void opened.text().then((text) => takeOwn(text, opened.name)))

  effect(() => {
    const lab = state.lab.value
    const most = lab?.maxPositions ?? LENGTHS[1]
    length.replaceChildren(
      ...LENGTHS.filter((tokens) => tokens <= most).map((tokens) =>
        element('option', { value: String(tokens) }, `${count(tokens)} tokens`),
      ),
    )
    length.value = String(state.choice.value?.maxTokens ?? (lab ? usualTokens(lab) : LENGTHS[1]))
  })
  await takeSample()
}

function acceptDrops(target: HTMLElement, onFile: (file: File) => void): void {
  target.addEventListener('dragover', (event) => event.preventDefault())
  target.addEventListener('drop', (event) => {
    event.preventDefault()
    const dropped = event.dataTransfer?.files[0]
    if (dropped) onFile(dropped)
  })
}
