import { PbfReader, PbfWriter } from 'pbf'
import { maskedCrc32c } from './crc32c.js'

/** One event of TensorBoard, with the parts that a training run needs. */
export interface SummaryEvent {
  /** Seconds since 1970. */
  readonly wallTime: number
  readonly step?: number
  readonly content:
    | { readonly kind: 'version' }
    /** Readers forget what they have of this step and later ones: a run that goes on from a checkpoint. */
    | { readonly kind: 'restart' }
    | { readonly kind: 'scalars'; readonly scalars: readonly Scalar[] }
    | { readonly kind: 'text'; readonly tag: string; readonly text: string }
}

/** A curve's name and one value of it; stored as f32. */
export type Scalar = readonly [tag: string, value: number]

/** DT_STRING of TensorFlow's types.proto. */
const STRING_TYPE = 7
const VERSION = 'brain.Event:2'
const HEADER_BYTES = 12
const CHECKSUM_BYTES = 4

/** An event as a TFRecord: length, its checksum, the Event message, its checksum. Field numbers are those of TensorFlow's event.proto and summary.proto. */
export function encodeRecord(event: SummaryEvent): Uint8Array {
  const writer = new PbfWriter()
  writeEvent(event, writer)
  const message = writer.finish()
  const record = new Uint8Array(HEADER_BYTES + message.length + CHECKSUM_BYTES)
  const view = new DataView(record.buffer)
  view.setBigUint64(0, BigInt(message.length), true)
  view.setUint32(8, maskedCrc32c(record.subarray(0, 8)), true)
  record.set(message, HEADER_BYTES)
  view.setUint32(HEADER_BYTES + message.length, maskedCrc32c(message), true)
  return record
}

/** Where the whole records of an event file end and which steps they are of, in order; a damaged or half-written one ends the list. */
export function* eachRecord(file: Uint8Array): Generator<{ readonly end: number; readonly step: number }> {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength)
  let start = 0
  while (start + HEADER_BYTES <= file.length) {
    if (view.getUint32(start + 8, true) !== maskedCrc32c(file.subarray(start, start + 8))) return
    const messageEnd = start + HEADER_BYTES + Number(view.getBigUint64(start, true))
    if (messageEnd + CHECKSUM_BYTES > file.length) return
    const message = file.subarray(start + HEADER_BYTES, messageEnd)
    if (view.getUint32(messageEnd, true) !== maskedCrc32c(message)) return
    start = messageEnd + CHECKSUM_BYTES
    yield { end: start, step: stepOf(message) }
  }
}

function writeEvent({ wallTime, step, content }: SummaryEvent, writer: PbfWriter): void {
  writer.writeDoubleField(1, wallTime)
  if (step) writer.writeVarintField(2, step)
  if (content.kind === 'version') writer.writeStringField(3, VERSION)
  if (content.kind === 'scalars') writer.writeMessage(5, writeScalars, content.scalars)
  if (content.kind === 'text') writer.writeMessage(5, (text, summary) => summary.writeMessage(1, writeText, text), content)
  // SessionLog with status START.
  if (content.kind === 'restart') writer.writeMessage(7, (status, session) => session.writeVarintField(1, status), 1)
}

function writeScalars(scalars: readonly Scalar[], summary: PbfWriter): void {
  for (const scalar of scalars) {
    summary.writeMessage(
      1,
      ([tag, value], field) => {
        field.writeStringField(1, tag)
        field.writeFloatField(2, value)
      },
      scalar,
    )
  }
}

/** A value of the text plugin: a string tensor of shape [1]. */
function writeText({ tag, text }: { readonly tag: string; readonly text: string }, value: PbfWriter): void {
  value.writeStringField(1, tag)
  value.writeMessage(
    8,
    (_, tensor) => {
      tensor.writeVarintField(1, STRING_TYPE)
      tensor.writeMessage(2, (extent, shape) => shape.writeMessage(2, (size, dimension) => dimension.writeVarintField(1, size), extent), 1)
      tensor.writeStringField(8, text)
    },
    undefined,
  )
  value.writeMessage(9, (name, metadata) => metadata.writeMessage(1, (plugin, data) => data.writeStringField(1, plugin), name), 'text')
}

/** Protobuf leaves out a step of 0. */
function stepOf(message: Uint8Array): number {
  return new PbfReader(message).readFields<{ step: number }>(
    (tag, found, reader) => {
      if (tag === 2) found.step = reader.readVarint(true)
    },
    { step: 0 },
  ).step
}
