import { expect, test } from 'vitest'
import { crc32c, maskedCrc32c } from '../../src/watching/crc32c.js'
import { eachRecord, encodeRecord, type SummaryEvent } from '../../src/watching/event-record.js'

const bytes = (count: number, byteAt: (index: number) => number) => Uint8Array.from({ length: count }, (_, index) => byteAt(index))

test('crc32c has the values of RFC 3720, appendix B.4', () => {
  expect(crc32c(bytes(32, () => 0))).toBe(0x8a9136aa)
  expect(crc32c(bytes(32, () => 0xff))).toBe(0x62a8ab43)
  expect(crc32c(bytes(32, (index) => index))).toBe(0x46dd794e)
  expect(crc32c(bytes(32, (index) => 31 - index))).toBe(0x113fdb5c)
  expect(crc32c(new TextEncoder().encode('123456789'))).toBe(0xe3069283)
})

test('the masked form of 0 is the constant', () => {
  expect(maskedCrc32c(new Uint8Array())).toBe(0xa282ead8)
})

const EVENTS: readonly SummaryEvent[] = [
  { wallTime: 1732345678.5, content: { kind: 'version' } },
  { wallTime: 1732345678.75, step: 301, content: { kind: 'restart' } },
  {
    wallTime: 1732345679.25,
    step: 301,
    content: {
      kind: 'scalars',
      scalars: [
        ['train/loss', 2.5],
        ['train/topK', 16],
      ],
    },
  },
  { wallTime: 1732345679.5, content: { kind: 'text', tag: 'config', text: 'loss: naïve' } },
]

/** What `tensorboard.summary.writer.record_writer.RecordWriter` of TensorBoard 2.21.0 made of the same events, each with its own protobuf classes. */
const OF_TENSORBOARD =
  '1800000000000000a37f4b22090000a0d35fd0d9411a0d627261696e2e4576656e743a323de0b26a' +
  '100000000000000095fbfe18090000b0d35fd0d94110ad023a020801acb1f18b' +
  '34000000000000005e33175c090000d0d35fd0d94110ad022a260a110a0a747261696e2f6c6f737315000020400a110a0a747261696e2f746f704b1500008041e743c967' +
  '3700000000000000e7e8ca59090000e0d35fd0d9412a2c0a2a0a06636f6e66696742160807120412020801420c6c6f73733a206e61c3af76654a080a060a0474657874' +
  '27ceacfb'

test('records are those of TensorBoard itself, byte by byte', () => {
  expect(Buffer.concat(EVENTS.map(encodeRecord)).toString('hex')).toBe(OF_TENSORBOARD)
})

test('a file is read up to its first damaged or unfinished record', () => {
  const file = Buffer.from(OF_TENSORBOARD, 'hex')
  const whole = [...eachRecord(file)]
  expect(whole.map(({ step }) => step)).toEqual([0, 301, 301, 0])
  expect(whole.at(-1)?.end).toBe(file.length)
  expect([...eachRecord(file.subarray(0, -1))]).toEqual(whole.slice(0, 3))
  const damaged = Uint8Array.from(file)
  damaged[whole[1].end + 20] ^= 1
  expect([...eachRecord(damaged)]).toEqual(whole.slice(0, 2))
})
