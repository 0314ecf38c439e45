/** One `.wgsl` file: a kernel is one of them, behind the ones that it shares with others. */
export interface ShaderPart {
  /** Name for messages, such as `attend.wgsl`. */
  readonly file: string
  readonly source: string
  /** WGSL extensions that it needs; a device without them is never given it. */
  readonly enables?: readonly ('f16' | 'subgroups' | 'chromium_experimental_subgroup_matrix')[]
}

/** A compute kernel: entry point `main` of the parts together. */
export interface Kernel {
  /** Name for labels and messages. */
  readonly name: string
  readonly parts: readonly ShaderPart[]
}

/** Element types of storage: what the alias `Element` stands for in every kernel. */
export type ElementType = 'f32' | 'f16'

/** The whole text of a kernel, and where each of its lines stands in a file. */
export interface ShaderText {
  readonly code: string
  /** `file:line` of a line of `code`, from 1. */
  placeOf(line: number): string
}

/** Puts a kernel's parts together, behind the extensions that they need and the alias of the element type. */
export function shaderText({ parts }: Kernel, element: ElementType): ShaderText {
  const enables = new Set(parts.flatMap(({ enables = [] }) => enables))
  if (element === 'f16') enables.add('f16')
  const header = [...enables].map((name) => `enable ${name};\n`).join('') + elementAliases(element)
  const code = header + parts.map(({ source }) => (source.endsWith('\n') ? source : `${source}\n`)).join('')
  return {
    code,
    placeOf(line) {
      let left = line - linesOf(header)
      if (left <= 0) return `header:${line}`
      for (const { file, source } of parts) {
        const count = linesOf(source.endsWith('\n') ? source : `${source}\n`)
        if (left <= count) return `${file}:${left}`
        left -= count
      }
      return `end:${left}`
    },
  }
}

function elementAliases(element: ElementType): string {
  return `alias Element = ${element};\nalias Element2 = vec2<${element}>;\nalias Element4 = vec4<${element}>;\n`
}

function linesOf(text: string): number {
  return text.split('\n').length - 1
}
