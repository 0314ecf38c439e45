import type { DefaultTheme } from 'vitepress'

/** A page for each thing that one may want to do. */
export const GUIDES: DefaultTheme.NavItemWithLink[] = [
  { text: 'I use the attention op', link: '/guide/attention' },
  { text: 'I swap a backend', link: '/guide/backends' },
  { text: 'I train', link: '/guide/training' },
  { text: 'I serve', link: '/guide/serving' },
  { text: 'I write a backend', link: '/guide/writing-a-backend' },
]

const PACKAGES = [
  '@phsa/core',
  '@phsa/kernels-cuda',
  '@phsa/kernels-webgpu',
  '@phsa/kernels-tfjs',
  '@phsa/model',
  '@phsa/trainer',
  '@phsa/server',
  'phsa',
]

/** The one sidebar of all pages. */
export const SIDEBAR: DefaultTheme.SidebarItem[] = [
  { text: 'Guide', items: [...GUIDES, { text: 'Examples', link: '/guide/examples' }] },
  {
    text: 'Reference',
    items: [
      { text: 'Specification', link: '/spec' },
      { text: 'API', link: '/api/index.html', target: '_self' },
      { text: 'Troubleshooting', link: '/troubleshooting' },
      { text: 'Decisions', link: '/decisions/' },
    ],
  },
  {
    text: 'Benchmarks',
    items: [
      { text: 'Attention on a GPU', link: '/benchmarks/' },
      { text: 'Decoding', link: '/benchmarks/decoding' },
      { text: 'A model', link: '/benchmarks/model' },
      { text: 'Training steps', link: '/benchmarks/training' },
      { text: 'Serving', link: '/benchmarks/serving' },
      { text: 'WebGPU', link: '/benchmarks/webgpu' },
      { text: 'TensorFlow.js', link: '/benchmarks/tensorflow' },
      { text: 'How it is measured', link: '/benchmarks/method' },
    ],
  },
  {
    text: 'Packages',
    collapsed: true,
    items: PACKAGES.map((name) => ({ text: name, link: `/packages/${name.replace('@phsa/', '')}` })),
  },
]
