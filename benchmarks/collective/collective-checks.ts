import type { Collective, DType, Memory, Tensor } from '@phsa/core'

/** Sizes of the tensors that are summed at once: odd ones, none, and more than one transfer of NCCL. */
const LENGTHS = [1, 3, 0, 1000, 65_537, 4_194_304]
const DTYPES: readonly DType[] = ['f32', 'bf16', 'i32']
/** Small integers: their sums are exact in bf16. */
const VALUES = 13

/** Sums tensors of all types over all ranks and compares each element. @returns what is wrong, in words */
export async function checkSums(memory: Memory, collective: Collective): Promise<string[]> {
  const { rank, size } = collective
  const elementOf = (index: number, of: number) => ((index + 3 * of) % VALUES) - 6
  const faults: string[] = []
  for (const dtype of DTYPES) {
    const tensors: Tensor[] = LENGTHS.map((length) => {
      const values = Array.from({ length }, (_, index) => elementOf(index, rank))
      return memory.upload(dtype === 'i32' ? Int32Array.from(values) : Float32Array.from(values), [length], dtype)
    })
    collective.allReduce(tensors).wait()
    for (const [place, tensor] of tensors.entries()) {
      const sums = await memory.download(tensor)
      const wrong = sums.findIndex((sum: number, index: number) => {
        let expected = 0
        for (let other = 0; other < size; other++) expected += elementOf(index, other)
        return sum !== expected
      })
      if (wrong >= 0) faults.push(`${dtype} of ${LENGTHS[place]}: element ${wrong} is ${sums[wrong]}`)
      tensor.dispose()
    }
  }
  return faults
}
