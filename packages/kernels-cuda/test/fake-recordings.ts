/** Something that is queued. */
export type Work = () => void

type Kind = 'graph' | 'executable'

/** What a fake driver has recorded. */
export class FakeRecordings {
  readonly #kept = new Map<bigint, { readonly kind: Kind; readonly work: readonly Work[] }>()
  #open: { readonly work: Work[]; isValid: boolean } | undefined

  get isOpen(): boolean {
    return this.#open !== undefined
  }

  /** Graphs, and what runs them, that are not destroyed. */
  get size(): number {
    return this.#kept.size
  }

  begin(): void {
    this.#open = { work: [], isValid: true }
  }

  add(work: Work): void {
    this.#open?.work.push(work)
  }

  /** Something was called that cannot be recorded. */
  spoil(): void {
    if (this.#open) this.#open.isValid = false
  }

  /** The work of the recording, or undefined where it was spoilt. */
  end(): readonly Work[] | undefined {
    const ended = this.#open
    this.#open = undefined
    return ended?.isValid ? ended.work : undefined
  }

  keep(handle: bigint, kind: Kind, work: readonly Work[]): void {
    this.#kept.set(handle, { kind, work })
  }

  workOf(handle: bigint, kind: Kind): readonly Work[] {
    const kept = this.#kept.get(handle)
    if (kept?.kind !== kind) throw new Error(`${handle.toString(16)} is no ${kind}`)
    return kept.work
  }

  drop(handle: bigint, kind: Kind): void {
    this.workOf(handle, kind)
    this.#kept.delete(handle)
  }
}
