import { cpSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { delimiter, dirname, join, relative } from 'node:path'
import { output, root } from '../command.mjs'
import { publishedPackages, type WorkspacePackage } from '../published-packages.js'

const VERSIONED = ['package.json', 'package-lock.json', '.changeset', 'packages/*/package.json', 'apps/*/package.json', 'scripts']
/** No releases of a rehearsal's tree go anywhere, so that the name matters to nobody. */
const AUTHOR = ['-c', 'user.name=rehearsal', '-c', 'user.email=rehearsal@localhost', '-c', 'commit.gpgsign=false']

export type Bump = 'patch' | 'minor' | 'major'

/** A copy of this repository's working tree, committed, in which versions are raised and packages published without touching the original. */
export class ReleaseTree {
  constructor(readonly root: string) {}

  /**
   * Copies what versions need, with `packed` also what packages hold.
   *
   * @throws Error where a package was not built but `packed` asks for its `dist`
   */
  static copy(into: string, { packed }: { packed: boolean }): ReleaseTree {
    const paths = packed ? [...VERSIONED, 'packages', 'apps'] : VERSIONED
    const listed = output('git', ['ls-files', '-z', '--cached', '--others', '--exclude-standard', '--', ...paths]).split('\0')
    for (const file of new Set(listed)) {
      // Deleted, but not yet for git.
      if (file === '' || !existsSync(join(root, file))) continue
      mkdirSync(dirname(join(into, file)), { recursive: true })
      cpSync(join(root, file), join(into, file))
    }
    const tree = new ReleaseTree(into)
    tree.git('init', '--quiet', '--initial-branch', 'main')
    if (packed) for (const each of publishedPackages(root)) copyShipped(each, into)
    tree.commit('as it is')
    return tree
  }

  packages() {
    return publishedPackages(this.root)
  }

  /** Where package-lock.json has packages of this repository that are no workspaces: npm links one only where its version is in the range. */
  unlinked(): string[] {
    const { packages } = JSON.parse(readFileSync(join(this.root, 'package-lock.json'), 'utf8'))
    const names = this.packages().map(({ name }) => `node_modules/${name}`)
    return Object.keys(packages).filter((place) => names.some((name) => place.endsWith(name)) && !packages[place].link)
  }

  versions(): Record<string, string> {
    return Object.fromEntries(this.packages().map(({ name, manifest }) => [name, manifest.version]))
  }

  addChangeset(bumps: Record<string, Bump>, sentence: string): void {
    const lines = Object.entries(bumps).map(([name, bump]) => `'${name}': ${bump}`)
    writeFileSync(join(this.root, '.changeset/rehearsed.md'), `---\n${lines.join('\n')}\n---\n\n${sentence}\n`)
    this.commit(sentence)
  }

  /** What the pull request of the release workflow does. */
  raiseVersions(): void {
    this.run('npm', ['run', '--silent', 'version-packages'])
    this.commit('versions')
  }

  /** Runs `changeset`. @throws Error with what it printed, if it fails */
  changeset(command: string, environment: Record<string, string> = {}): string {
    return this.run(process.execPath, [join(root, 'node_modules/@changesets/cli/bin.js'), command], environment)
  }

  /** Runs a command with this repository's tools. @throws Error with what it printed, if it fails */
  run(command: string, args: string[], environment: Record<string, string> = {}): string {
    const PATH = [join(root, 'node_modules/.bin'), process.env.PATH].join(delimiter)
    return output(command, args, { cwd: this.root, env: { ...process.env, ...environment, PATH } })
  }

  git(...args: string[]): string {
    return output('git', [...AUTHOR, ...args], { cwd: this.root })
  }

  commit(message: string): void {
    this.git('add', '--all')
    this.git('commit', '--quiet', '--allow-empty', '--message', message)
  }
}

/** What a package ships is partly built, which git does not list. */
function copyShipped({ name, folder, manifest }: WorkspacePackage, into: string): void {
  if (!existsSync(join(folder, 'dist'))) throw new Error(`${name} has no dist: run \`npm run build\` first.`)
  for (const shipped of manifest.files ?? []) {
    const source = join(folder, shipped)
    if (existsSync(source)) cpSync(source, join(into, relative(root, source)), { recursive: true })
  }
}
