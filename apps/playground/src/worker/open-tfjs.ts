import type { ModelBackend } from '@phsa/core'
import { tfjs } from '@phsa/kernels-tfjs'
import { setWasmPaths } from '@tensorflow/tfjs-backend-wasm'
import plain from '@tensorflow/tfjs-backend-wasm/dist/tfjs-backend-wasm.wasm?url'
import simd from '@tensorflow/tfjs-backend-wasm/dist/tfjs-backend-wasm-simd.wasm?url'
import { env } from '@tensorflow/tfjs-core'

/** TensorFlow.js on WebAssembly, from files beside this page. @throws BackendUnavailableError */
export function openTfjs(): Promise<ModelBackend> {
  const here = (file: string) => new URL(file, self.location.href).href
  // Threads need headers that a folder of static files cannot set; TensorFlow.js wants a path for them all the same.
  env().set('WASM_HAS_MULTITHREAD_SUPPORT', false)
  setWasmPaths({
    'tfjs-backend-wasm.wasm': here(plain),
    'tfjs-backend-wasm-simd.wasm': here(simd),
    'tfjs-backend-wasm-threaded-simd.wasm': here(simd),
  })
  return tfjs({ engine: 'wasm' })
}
