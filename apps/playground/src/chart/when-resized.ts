/** Draws now and whenever the place changes its width. @returns draws again */
export function whenResized(place: HTMLElement, draw: () => void): () => void {
  let width = 0
  new ResizeObserver(() => {
    const now = Math.round(place.getBoundingClientRect().width)
    if (now === width) return
    width = now
    draw()
  }).observe(place)
  return draw
}
