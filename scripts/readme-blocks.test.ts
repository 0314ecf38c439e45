import { expect, test } from 'vitest'
import { readmeBlocks } from './readme-blocks.js'

test('finds js and ts blocks with their lines and leaves other languages out', () => {
  const markdown = '# Title\n\n```js\nconst a = 1\n```\n\n```sh\nnpm install\n```\n\n```ts\nconst b: number = 1\nexport { b }\n```\n'
  expect(readmeBlocks(markdown)).toEqual([
    { language: 'js', code: 'const a = 1\n', line: 4 },
    { language: 'ts', code: 'const b: number = 1\nexport { b }\n', line: 12 },
  ])
})

test('a README without blocks has none', () => {
  expect(readmeBlocks('# Title\n\nSentence.\n')).toEqual([])
})
