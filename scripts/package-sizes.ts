/** Bytes of a gzipped tarball at most. One that needs more is a decision: what came in, and who pays for it? */
export const BUDGETS: Record<string, number> = {
  '@phsa/core': 400_000,
  // Machine code for each generation of GPUs is most of it.
  '@phsa/kernels-cuda': 8_500_000,
  '@phsa/kernels-tfjs': 150_000,
  '@phsa/kernels-webgpu': 400_000,
  '@phsa/model': 200_000,
  '@phsa/server': 250_000,
  '@phsa/trainer': 350_000,
  // The trained model is most of it; what remains are the playground, the tokenizer and a text.
  phsa: 9_500_000,
}

/** What `benchmarks/results/package-sizes.json` holds. */
export interface PackageSizes {
  unit: string
  /** GPUs that the kernels in the tarball of kernels-cuda are for; none where they were not built. */
  kernels: string[]
  sizes: Record<string, number>
}

/** The sizes in Markdown, beside what is allowed. */
export function sizeTable({ kernels, sizes }: PackageSizes): string {
  const rows = Object.entries(sizes).map(([name, bytes]) => `| \`${name}\` | ${kilobytes(bytes)} | ${kilobytes(BUDGETS[name])} |`)
  const built = kernels.length > 0 ? `kernels for ${kernels.join(', ')}` : 'no kernels'
  return ['| package | tarball, kB | at most |', '| --- | ---: | ---: |', ...rows, '', `\`@phsa/kernels-cuda\` with ${built}.`].join('\n')
}

function kilobytes(bytes: number): string {
  return Math.round(bytes / 1000).toLocaleString('en')
}
