import { openSync, readSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { BackendLostError, type Collective, elementCount, type HostArray, type Memory, type Tensor } from '@phsa/core'

/** How kernels of the reference backend read. */
interface HostReads {
  reals(tensor: Tensor): HostArray
  integers(tensor: Tensor): Int32Array
}

/** Names of the pipes from one rank to the other, in their folder. */
export const PIPES = ['to-1', 'to-0'] as const

/**
 * Sums over two processes through a pair of named pipes, on the reference backend: to try the whole course of a measurement where there is no GPU. It blocks, and
 * sums when it is asked, not beside anything.
 */
export function pipeCollective(memory: Memory, folder: string, rank: number): Collective {
  const host = memory as Memory & HostReads
  // Each opens the pipe to 1 first: opening waits for the other end.
  const [first, second] = PIPES.map((name, index) => openSync(join(folder, name), rank === index ? 'w' : 'r'))
  const [output, input] = rank === 0 ? [first, second] : [second, first]
  const send = (values: Float64Array) => {
    const bytes = new Uint8Array(values.buffer)
    for (let at = 0; at < bytes.length; ) at += writeSync(output, bytes, at)
  }
  const receive = (count: number) => {
    const bytes = new Uint8Array(8 * count)
    for (let at = 0; at < bytes.length; ) {
      const read = readSync(input, bytes, at, bytes.length - at, null)
      if (read === 0) throw new BackendLostError(`the group has failed: rank ${1 - rank} of 2 ended, or its connection was lost.`)
      at += read
    }
    return new Float64Array(bytes.buffer)
  }
  const exchange = (values: Float64Array) => {
    try {
      if (rank === 0) send(values)
      const theirs = receive(values.length)
      if (rank === 1) send(values)
      return theirs
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code !== 'EPIPE') throw cause
      throw new BackendLostError(`the group has failed: rank ${1 - rank} of 2 ended, or its connection was lost.`, { cause })
    }
  }
  return {
    rank,
    size: 2,
    allReduce(tensors) {
      for (const tensor of tensors) {
        const isInteger = tensor.dtype === 'i32'
        const own = Float64Array.from(isInteger ? host.integers(tensor) : host.reals(tensor))
        const theirs = exchange(own)
        const sums = own.map((value, index) => value + theirs[index])
        if (sums.length !== elementCount(tensor.shape)) throw new Error('the pipes carry another tensor')
        memory.write(tensor, isInteger ? Int32Array.from(sums) : Float32Array.from(sums))
      }
      return { wait: () => {} }
    },
  }
}
