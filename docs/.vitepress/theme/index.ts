import type { Theme } from 'vitepress'
import DefaultTheme from 'vitepress/theme'
import PhsaLayout from './layout.vue'
import PhsaPicture from './phsa-picture.vue'
import './style.css'

export default {
  extends: DefaultTheme,
  Layout: PhsaLayout,
  enhanceApp: ({ app }) => void app.component('PhsaPicture', PhsaPicture),
} satisfies Theme
