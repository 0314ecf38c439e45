/** Runs a job for one input at a time; of inputs that come meanwhile only the newest is kept, for sliders that are dragged. */
export function latest<Input>(run: (input: Input) => Promise<void>): (input: Input) => void {
  let waiting: { readonly input: Input } | undefined
  let isBusy = false
  return async (input) => {
    waiting = { input }
    if (isBusy) return
    isBusy = true
    try {
      while (waiting) {
        const next: Input = waiting.input
        waiting = undefined
        await run(next)
      }
    } finally {
      isBusy = false
    }
  }
}
