import { type ChildProcess, fork } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { InvalidFileError } from '@phsa/core'
import type { DocumentEncoder } from '@phsa/trainer'
import { UsageError } from '../usage-error.js'

/** A document on its way to a process. */
export interface EncodeRequest {
  readonly id: number
  readonly text: string
}

/** Its ids, or what the tokenizer said against it. */
export type EncodeAnswer = { readonly id: number; readonly ids: Int32Array } | { readonly id: number; readonly fault: string }

interface Waiting {
  readonly resolve: (ids: Int32Array) => void
  readonly reject: (error: Error) => void
}

interface Encoder {
  readonly process: ChildProcess
  readonly waiting: Map<number, Waiting>
  end: Error | undefined
}

/** Documents that wait at each process, so that none is idle while one of them is long. */
const QUEUED = 4

/** Processes that tokenize side by side, each with a tokenizer of its own. */
export class EncoderProcesses implements DocumentEncoder {
  readonly concurrency: number
  readonly #tokenizerFolder: string
  readonly #count: number
  #encoders: readonly Encoder[] = []
  #next = 0

  constructor(tokenizerFolder: string, count: number) {
    this.concurrency = count * QUEUED
    this.#tokenizerFolder = tokenizerFolder
    this.#count = count
  }

  /** @throws InvalidFileError as `TextTokenizer.encode` does; UsageError where a process ended */
  encode(text: string): Promise<Int32Array> {
    // Not before: tokens that are there already need none.
    if (this.#encoders.length === 0) this.#start()
    const encoder = this.#encoders.reduce((idlest, other) => (other.waiting.size < idlest.waiting.size ? other : idlest))
    return new Promise((resolve, reject) => {
      if (encoder.end) return reject(encoder.end)
      const id = this.#next++
      encoder.waiting.set(id, { resolve, reject })
      encoder.process.send({ id, text } satisfies EncodeRequest)
    })
  }

  /** Ends the processes at once. @param reason what is thrown for documents that are under way */
  stop(reason: Error): void {
    for (const encoder of this.#encoders) {
      giveUp(encoder, reason)
      encoder.process.kill('SIGKILL')
    }
  }

  #start(): void {
    // Sources run unbuilt with the loader that this process was started with.
    const name = import.meta.url.endsWith('.ts') ? './encode-process.ts' : './encode-process.js'
    const script = fileURLToPath(new URL(name, import.meta.url))
    this.#encoders = Array.from({ length: this.#count }, () => startEncoder(script, this.#tokenizerFolder))
  }
}

function startEncoder(script: string, tokenizerFolder: string): Encoder {
  const child = fork(script, [tokenizerFolder], { serialization: 'advanced' })
  const encoder: Encoder = { process: child, waiting: new Map(), end: undefined }
  child.on('message', (message: unknown) => {
    const answer = message as EncodeAnswer
    const waiting = encoder.waiting.get(answer.id)
    encoder.waiting.delete(answer.id)
    if ('ids' in answer) waiting?.resolve(answer.ids)
    else waiting?.reject(new InvalidFileError(answer.fault))
  })
  const fail = (how: string) =>
    giveUp(encoder, new UsageError(`a process that tokenizes ${how}; where that is for memory, give fewer --workers.`))
  child.on('error', (error) => fail(`failed (${error.message})`))
  child.on('exit', (code, signal) => fail(code === null ? `was ended by ${signal}` : `ended with exit code ${code}`))
  return encoder
}

function giveUp(encoder: Encoder, reason: Error): void {
  encoder.end ??= reason
  for (const { reject } of encoder.waiting.values()) reject(encoder.end)
  encoder.waiting.clear()
}
