import { checkAdd, checkSwiglu, checkSwigluBackward, elementCount, type ModelOps, type Tensor } from '@phsa/core'
import type { KernelDevice, KernelMemory } from '../attention/kernel-host.js'
import { packParams } from '../attention/param-layout.js'
import { vectorOf } from './elements.js'
import { ElementwiseParams, SwigluBackwardParams } from './op-params.js'

/** kThreads of elementwise.cu. */
const THREADS = 256

/** Element by element: silu(gate) * up with its gradients, and a + b. */
export function elementwiseOps(device: KernelDevice, memory: KernelMemory): Pick<ModelOps, 'swiglu' | 'swigluBackward' | 'add'> {
  const { owner } = memory
  const launch = (operation: string, like: Tensor, params: Uint8Array) =>
    device.launch({
      kernel: `${operation}_${like.dtype}`,
      grid: [Math.ceil(elementCount(like.shape) / (THREADS * vectorOf(like))), 1, 1],
      block: THREADS,
      params,
    })
  const combined = (operation: string, a: Tensor, b: Tensor) => {
    const out = memory.make(a.shape, a.dtype)
    const [first, second, result] = [a, b, out].map((tensor) => memory.address(tensor))
    launch(operation, a, packParams(ElementwiseParams, { a: first, b: second, out: result, count: elementCount(a.shape) }))
    return out
  }
  return {
    swiglu(gate, up) {
      memory.checkOpen()
      checkSwiglu(owner, gate, up)
      return memory.scope(() => combined('swiglu', gate, up))
    },

    swigluBackward(dy, gate, up) {
      memory.checkOpen()
      checkSwigluBackward(owner, dy, gate, up)
      return memory.scope(() => {
        const [dGate, dUp] = [memory.make(gate.shape, gate.dtype), memory.make(up.shape, up.dtype)]
        const params = packParams(SwigluBackwardParams, {
          dy: memory.address(dy),
          gate: memory.address(gate),
          up: memory.address(up),
          dGate: memory.address(dGate),
          dUp: memory.address(dUp),
          count: elementCount(gate.shape),
        })
        launch('swiglu_backward', gate, params)
        return { dGate, dUp }
      })
    },

    add(a, b) {
      memory.checkOpen()
      checkAdd(owner, a, b)
      return memory.scope(() => combined('add', a, b))
    },
  }
}
