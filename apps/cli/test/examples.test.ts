import type { Command } from 'commander'
import { expect, test } from 'vitest'
import { buildProgram } from '../src/program.js'
import { commandWords } from './command-words.js'

/** The arguments of the phsa command in a shell line: what is piped in and where the output goes is left out. */
function argumentsOf(line: string): string[] {
  const command = line.replace(/^.*\| /, '').replace(/ > .*$/, '')
  const words = commandWords(command)
  expect(words[0]).toBe('phsa')
  return words.slice(1)
}

/** The program with actions that only say which command was understood. */
function parsingProgram(): { program: Command; parsed: string[] } {
  const { program } = buildProgram()
  const parsed: string[] = []
  for (const command of program.commands) command.action(() => void parsed.push(command.name()))
  return { program, parsed }
}

test.each(buildProgram().commands.examples)('%s can be typed', async (line) => {
  const { program, parsed } = parsingProgram()
  const args = argumentsOf(line)
  await program.parseAsync(args, { from: 'user' })
  expect(parsed).toEqual([args[0]])
})

test('every command has a summary, a description and examples', () => {
  const { program, commands } = buildProgram()
  for (const command of program.commands) {
    expect(command.summary()).not.toBe('')
    expect(command.description().length).toBeGreaterThan(command.summary().length)
    expect(commands.examples.filter((line) => line.includes(`phsa ${command.name()}`))).not.toEqual([])
  }
})

test('every command prints JSON on request, and every option says what it is', () => {
  const { program } = buildProgram()
  for (const command of program.commands) {
    expect(command.options.map(({ long }) => long)).toContain('--json')
    for (const { description } of command.options) expect(description).not.toBe('')
  }
})
