export interface ReadmeBlock {
  language: 'js' | 'ts'
  code: string
  /** 1-based line of the block's first line of code. */
  line: number
}

/** The fenced js and ts blocks of a README, in order. Blocks of other languages are left out. */
export function readmeBlocks(markdown: string): ReadmeBlock[] {
  return [...markdown.matchAll(/^```(js|ts)[^\n]*\n([\s\S]*?)^```\s*$/gm)].map((match) => ({
    language: match[1] as 'js' | 'ts',
    code: match[2],
    line: markdown.slice(0, match.index).split('\n').length + 1,
  }))
}
