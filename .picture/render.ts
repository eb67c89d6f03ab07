// Renders bucket-av-scanner.svg beside this file to ../bucket-av-scanner.png, at twice the README's width, with the pinned
// font only, so that every machine gives the same picture. Started by `npm run picture`.
import { readFileSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { Resvg } from '@resvg/resvg-js'

const require = createRequire(import.meta.url)
const weights = ['400Regular', '500Medium', '600SemiBold', '700Bold']

const picture = new Resvg(readFileSync(new URL('bucket-av-scanner.svg', import.meta.url)), {
  fitTo: { mode: 'zoom', value: 2 },
  font: {
    loadSystemFonts: false,
    defaultFontFamily: 'Inter',
    fontFiles: weights.map((weight) =>
      require.resolve(`@expo-google-fonts/inter/${weight}/Inter_${weight}.ttf`),
    ),
  },
}).render()

writeFileSync(new URL('../bucket-av-scanner.png', import.meta.url), picture.asPng())
process.stdout.write(`bucket-av-scanner.png: ${picture.width} x ${picture.height}\n`)
