import { isPhsaError } from '@phsa/core'
import type { KernelDevice, KernelMemory } from '../attention/kernel-host.js'
import type { CublasLtLibrary } from '../driver/find-cublas-lt.js'
import { kernelProducts } from './kernel-products.js'
import { LtProducts } from './lt-products.js'
import { type LtDevice, LtSession } from './lt-session.js'
import type { MatrixProducts } from './matrix-product.js'

/** Where cuBLASLt comes from: looked for at the first product, or `false` to do without. */
export type CublasLtSource = (() => CublasLtLibrary | undefined) | false

const INSTALL =
  'Install cuBLAS of CUDA 13 or 12 (it comes with the CUDA toolkit, as the system package libcublas-13-0, and as the Python package nvidia-cublas), and where it lies in no usual place name its folder with cuda({ cublasLt }) or PHSA_CUBLASLT; cublasLt: false says that this is meant.'

/**
 * Products by cuBLASLt where there is one, otherwise, with one warning, by kernels of this package. Which is decided by the first product: who computes
 * attention alone needs neither.
 */
export function openProducts(
  device: KernelDevice & LtDevice,
  memory: Pick<KernelMemory, 'scratch'>,
  source: CublasLtSource,
): MatrixProducts {
  let chosen: MatrixProducts | undefined
  return {
    multiply(product) {
      chosen ??= chooseProducts(device, memory, source)
      chosen.multiply(product)
    },
    close() {
      chosen?.close()
    },
  }
}

function chooseProducts(device: KernelDevice & LtDevice, memory: Pick<KernelMemory, 'scratch'>, source: CublasLtSource): MatrixProducts {
  const kernels = kernelProducts(device)
  if (!source) return kernels
  const library = source()
  if (!library) {
    warn('there is no cuBLASLt')
    return kernels
  }
  try {
    return new LtProducts(new LtSession(library.lt, device), device, memory, kernels)
  } catch (error) {
    if (!isPhsaError(error, 'cuda')) throw error
    warn(`${library.file} does not work here (${error.message})`)
    return kernels
  }
}

function warn(reason: string): void {
  process.emitWarning(
    `cuda: ${reason}; matrix products are computed by kernels of @phsa/kernels-cuda, half as fast or slower. ${INSTALL}`,
    {
      type: 'PhsaWarning',
      code: 'PHSA_NO_CUBLASLT',
    },
  )
}
