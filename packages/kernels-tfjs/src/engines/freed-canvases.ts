/**
 * Runs `body` and frees the canvases that it made. TensorFlow.js's webgpu engine makes three for each synchronous read and leaves them to the garbage
 * collector, which does not see that they hold the GPU's memory: after some thousand reads the device is lost. Where there are no canvases, only runs it.
 */
export function freeingCanvases<T>(body: () => T): T {
  const original = globalThis.OffscreenCanvas
  if (original === undefined) return body()
  const made: OffscreenCanvas[] = []
  globalThis.OffscreenCanvas = class extends original {
    constructor(width: number, height: number) {
      super(width, height)
      made.push(this)
    }
  }
  try {
    return body()
  } finally {
    globalThis.OffscreenCanvas = original
    for (const canvas of made) {
      canvas.width = 0
      canvas.height = 0
    }
  }
}
