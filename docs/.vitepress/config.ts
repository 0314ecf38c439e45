import { defineConfig } from 'vitepress'
import { GUIDES, SIDEBAR } from './contents.js'
import { repositoryLinks } from './repository-links.js'

const REPOSITORY = 'https://github.com/phsa/phsa'

// Where the site lies on its server, such as /phsa/.
const base = process.env.PHSA_SITE_BASE ?? '/'

export default defineConfig({
  title: 'PHSA',
  description: 'Punctuation-aware Hybrid Sparse Attention for JavaScript: long contexts, from training to decoding, on any backend',
  lang: 'en',
  base,
  cacheDir: '../node_modules/.cache/vitepress',
  srcExclude: ['api/**', 'runs/**'],
  rewrites: { 'decisions/README.md': 'decisions/index.md' },
  // They come from elsewhere; scripts/site/dead-links.ts looks whether they came.
  ignoreDeadLinks: [/^\/(api|playground)\//],
  head: [['link', { rel: 'icon', type: 'image/svg+xml', href: `${base}mark.svg` }]],
  markdown: { config: (md) => repositoryLinks(md, REPOSITORY) },
  themeConfig: {
    logo: '/mark.svg',
    search: { provider: 'local' },
    outline: [2, 3],
    nav: [
      { text: 'Guide', items: GUIDES, activeMatch: '/guide/' },
      { text: 'Specification', link: '/spec' },
      { text: 'Benchmarks', link: '/benchmarks/', activeMatch: '/benchmarks/' },
      { text: 'API', link: '/api/index.html', target: '_self' },
      { text: 'Playground', link: '/playground/index.html', target: '_self' },
    ],
    sidebar: SIDEBAR,
    socialLinks: [{ icon: 'github', link: REPOSITORY }],
    editLink: { pattern: `${REPOSITORY}/edit/main/docs/:path`, text: 'Edit this page' },
    footer: { message: 'Apache-2.0. An independent implementation of arXiv 2601.02819.' },
  },
})
