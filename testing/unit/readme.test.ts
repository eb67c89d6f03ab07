// The README repeats what the code says; these tests fail as soon as the two differ.
import { readFileSync } from 'node:fs'
import { expect } from 'chai'
import { reasons } from '../../services/avscan/engines/engine.ts'
import { formatReasons } from '../../services/avscan/formats/seen.ts'
import { deployNames } from '../../services/cli/settings.ts'
import { signedHeaders } from '../../services/notifier/sign.ts'
import { decodeOutMessage } from '../../services/shared/messages.ts'
import { root, tableIn, tables } from '../support/readme-tables.ts'

const readme = readFileSync(new URL('README.md', root), 'utf8')

/** The first code block of a language that holds `text`. */
function codeBlock(language: string, text: string): string {
  const blocks = [...readme.matchAll(/^```(\w+)\n([^]*?)^```$/gm)]
  const found = blocks.find(([, name, body]) => name === language && body?.includes(text))
  if (found?.[2] === undefined) throw new Error(`no ${language} block with ${text}`)
  return found[2]
}

describe('README', () => {
  for (const [name, make] of Object.entries(tables)) {
    it(`has the table "${name}" as the code makes it (node testing/support/readme-tables.ts)`, () => {
      expect(tableIn(readme, name)).to.equal(make())
    })
  }

  it('says why each package is there', () => {
    const { dependencies, devDependencies } = JSON.parse(
      readFileSync(new URL('package.json', root), 'utf8'),
    ) as Record<'dependencies' | 'devDependencies', Record<string, string>>
    const section = readme.slice(readme.indexOf('## Packages'), readme.indexOf('## Runtimes'))
    for (const name of Object.keys({ ...dependencies, ...devDependencies }))
      expect(section).to.contain(`\`${name}\``)
  })

  it('explains each reason code an engine or a container can give', () => {
    for (const code of Object.values({ ...reasons, ...formatReasons }))
      expect(readme).to.match(new RegExp(`^\\| ${code} \\|`, 'm'))
  })

  it('names each setting of the deployment', () => {
    for (const name of deployNames) expect(readme).to.contain(`\`${name}\``)
  })

  it('shows a webhook body that the decoder takes for a verdict', () => {
    const body = Buffer.from(codeBlock('json', 'object.scan.infected'))
    expect(decodeOutMessage(body).type).to.equal('object.scan.infected')
  })

  describe('the code that verifies a signature', () => {
    type IsGenuine = (headers: object, body: Buffer, secret: string) => boolean
    const secret = `whsec_${Buffer.from('a secret of some 32 characters..').toString('base64')}`
    const other = `whsec_${Buffer.from('another secret of 32 characters.').toString('base64')}`
    const body = Buffer.from('{"type":"object.scan.clean"}')
    let isGenuine: IsGenuine

    before(async () => {
      const source = `${codeBlock('js', 'isGenuine')}\nexport { isGenuine }`
      const module = (await import(`data:text/javascript,${encodeURIComponent(source)}`)) as {
        isGenuine: IsGenuine
      }
      isGenuine = module.isGenuine
    })

    it('takes what the notifier signs', () => {
      expect(isGenuine(signedHeaders(secret, 'id', body), body, secret)).to.equal(true)
    })

    it('takes either secret while one is being replaced', () => {
      const headers = signedHeaders(`${other},${secret}`, 'id', body)
      expect(isGenuine(headers, body, secret)).to.equal(true)
      expect(isGenuine(headers, body, other)).to.equal(true)
    })

    it('refuses another body, another secret and an old request', () => {
      const headers = signedHeaders(secret, 'id', body)
      expect(isGenuine(headers, Buffer.from('{}'), secret)).to.equal(false)
      expect(isGenuine(headers, body, other)).to.equal(false)
      const hourAgo = Date.now() - 3_600_000
      expect(isGenuine(signedHeaders(secret, 'id', body, hourAgo), body, secret)).to.equal(false)
    })
  })
})
