/** The words of a command as a shell sees them: what is in double quotes is one. */
export function commandWords(line: string): string[] {
  return [...line.matchAll(/"([^"]*)"|(\S+)/g)].map(([, quoted, plain]) => quoted ?? plain)
}
