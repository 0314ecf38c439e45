import type { Tensor } from '@phsa/core'
import type { KernelDevice, KernelMemory } from '../attention/kernel-host.js'
import { packParams } from '../attention/param-layout.js'
import { TokenOrderParams } from './op-params.js'

/** kDigitBits, kTile, kCountThreads, kScanThreads of token_order.cu; a warp puts a tile in order. */
const DIGIT_BITS = 9
const TILE = 1024
const COUNT_THREADS = 256
const SCAN_THREADS = 1024
const ORDER_THREADS = 32
const INT_BYTES = Int32Array.BYTES_PER_ELEMENT

/**
 * Lends the places of tokens, i32 [T], to the launches of `run`: by rising id, those of one id in their own order, those of id -1 last.
 * @param ids i32 [T], of 0 to vocabulary - 1, or -1
 */
export function withTokenOrder(
  device: KernelDevice,
  memory: KernelMemory,
  ids: Tensor,
  vocabulary: number,
  run: (order: bigint) => void,
): void {
  const [tokens] = ids.shape
  const tiles = Math.ceil(tokens / TILE)
  const bytes = tiles * TILE * INT_BYTES
  memory.scratch(2 * bytes + 2 ** DIGIT_BITS * tiles * INT_BYTES, ({ address }) => {
    const orders = [address, address + BigInt(bytes)]
    let source = 0n
    let target = orders[0]
    // Ids are at most `vocabulary`, which stands for -1.
    for (let shift = 0; shift === 0 || vocabulary >= 2 ** shift; shift += DIGIT_BITS) {
      const places = address + BigInt(2 * bytes)
      const params = packParams(TokenOrderParams, { ids: memory.address(ids), source, target, places, tokens, tiles, vocabulary, shift })
      device.launch({ kernel: 'count_token_digits', grid: [tiles, 1, 1], block: COUNT_THREADS, params })
      device.launch({ kernel: 'place_token_digits', grid: [1, 1, 1], block: SCAN_THREADS, params })
      device.launch({ kernel: 'order_tokens', grid: [tiles, 1, 1], block: ORDER_THREADS, params })
      source = target
      target = target === orders[0] ? orders[1] : orders[0]
    }
    run(source)
  })
}
