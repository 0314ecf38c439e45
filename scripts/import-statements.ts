import ts from 'typescript'

export interface ImportStatement {
  specifier: string
  /** 1-based. */
  line: number
  text: string
}

/** Every static, dynamic, type and re-exporting import of a TypeScript source, and every `/// <reference types>`; what stands in comments and strings is none. */
export function importStatements(source: string): ImportStatement[] {
  const lines = source.split('\n')
  const { importedFiles, typeReferenceDirectives } = ts.preProcessFile(source, true, true)
  return [...importedFiles, ...typeReferenceDirectives].map(({ fileName, pos }) => {
    const line = source.slice(0, pos).split('\n').length
    return { specifier: fileName, line, text: lines[line - 1].trim() }
  })
}
