import type { RetrievalRow } from '@phsa/trainer'
import { parseHTML } from 'linkedom'
import { expect, test } from 'vitest'
import { retrievalMap } from '../src/report/evaluation-page.js'
import { type HeatMap, heatFigure, heatTable } from '../src/report/heat-map.js'

const map: HeatMap = {
  title: 'Found & lost',
  rowAxis: 'depth',
  columnAxis: 'tokens',
  rows: ['0', '0.5'],
  columns: ['512', '1,024'],
  cells: [
    [{ shade: 0.2, text: '20 %', detail: '20 % (6 to 51)' }, null],
    [
      { shade: 7, text: 'all' },
      { shade: -1, text: 'none' },
    ],
  ],
}

test('the table has a heading for every row and column, and takes the focus to be scrolled', () => {
  const { document } = parseHTML(heatTable(map))
  const texts = (selector: string) => Array.from(document.querySelectorAll(selector), (element) => element.textContent)
  expect(texts('caption')).toEqual(['Found & lost'])
  expect(texts('th[scope=col]')).toEqual(['depth \\ tokens', '512', '1,024'])
  expect(texts('th[scope=row]')).toEqual(['0', '0.5'])
  expect(texts('td')).toEqual(['20 % (6 to 51)', '–', 'all', 'none'])
  const region = document.querySelector('[role=region]')
  expect(region?.getAttribute('tabindex')).toBe('0')
  expect(region?.getAttribute('aria-label')).toBe('Found & lost')
})

test('the drawing has a name, a cell for every value, and shades that keep its text readable', () => {
  const { document } = parseHTML(heatFigure(map))
  expect(document.querySelector('svg')?.getAttribute('aria-label')).toContain('Found & lost')
  const shades = Array.from(document.querySelectorAll('rect[fill-opacity]'), (rect) => Number(rect.getAttribute('fill-opacity')))
  expect(shades).toEqual([0.1, 0.5, 0])
  expect(Array.from(document.querySelectorAll('svg text'), (text) => text.textContent)).toContain('20 %')
})

test('retrieval lies with depths down and lengths across, with its intervals', () => {
  const accuracy = (share: number) => ({ trials: 4, accuracy: share, interval: [share / 2, share] as const, informationLoss: 100 - share })
  const cell = (length: number, depth: number, share: number) => ({ length, depth, ...accuracy(share) })
  const row: RetrievalRow = {
    policy: 'phsa',
    topK: 2,
    cells: [cell(512, 0, 25), cell(512, 1, 50), cell(1024, 0, 75)],
    overall: accuracy(50),
    activatedTokens: 80,
    sparsity: 0.9,
  }
  const { title, rows, columns, cells } = retrievalMap(row)
  expect(title).toBe('Needles found, phsa topK 2: 50 % of 4 (25 to 50)')
  expect([rows, columns]).toEqual([
    ['0', '1'],
    ['512', '1,024'],
  ])
  expect(cells.map((line) => line.map((one) => one?.detail ?? null))).toEqual([
    ['25 % (13 to 25)', '75 % (38 to 75)'],
    ['50 % (25 to 50)', null],
  ])
})
