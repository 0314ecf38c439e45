/** Lets messages in: a backend that computes on this thread would keep them waiting. */
export function nextTurn(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve))
}
