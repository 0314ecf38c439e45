/** Colours as CSS variables, so that one drawing serves light and dark pages; `paletteStyle` defines them. */
export const color = {
  text: 'var(--text)',
  muted: 'var(--muted)',
  grid: 'var(--grid)',
  background: 'var(--page)',
  surface: 'var(--surface)',
  forced: 'var(--forced)',
  candidate: 'var(--candidate)',
  phsa: 'var(--phsa)',
  meanPool: 'var(--mean-pool)',
  infllm: 'var(--infllm)',
  dense: 'var(--dense)',
  punctuationOnly: 'var(--punctuation-only)',
  mark: 'var(--mark)',
} as const

/** Line colour of each selection policy. */
export function policyColor(policy: string): string {
  const colors: Readonly<Record<string, string>> = {
    phsa: color.phsa,
    'mean-pool': color.meanPool,
    'infllm-v2': color.infllm,
    dense: color.dense,
    'punctuation-only': color.punctuationOnly,
    random: color.muted,
  }
  return colors[policy] ?? color.text
}

const LIGHT =
  '--text:#1d232b;--muted:#5c6773;--grid:#d9dee4;--page:#ffffff;--surface:#f5f7f9;--forced:#b9c2cc;--candidate:#eceff2;--phsa:#b3470f;--mean-pool:#1767a6;--infllm:#7a5aa8;--dense:#3d7a3f;--punctuation-only:#a8326e;--mark:#b3470f'
const DARK =
  '--text:#e6e9ed;--muted:#9aa5b1;--grid:#363e48;--page:#14181d;--surface:#1c2229;--forced:#5a6672;--candidate:#262d35;--phsa:#ff9a5c;--mean-pool:#6db8f2;--infllm:#bda1ea;--dense:#86cf88;--punctuation-only:#f08fc0;--mark:#ff9a5c'

/** The variables for light pages, and for dark ones where the reader's system asks for that. */
export function paletteStyle(selector: string): string {
  return `${selector}{color-scheme:light dark;${LIGHT}}@media (prefers-color-scheme:dark){${selector}{${DARK}}}`
}
