// What a TLS failure means to whoever runs this.
import { expect } from 'chai'
import { FatalError } from '../../../services/shared/errors.ts'
import { tlsProblem, trustedCas } from '../../../services/shared/trust.ts'

const failing = (code: string) =>
  new Error('outer', { cause: Object.assign(new Error('x'), { code }) })

describe('tlsProblem', () => {
  for (const [code, words] of [
    ['CERT_HAS_EXPIRED', /expired; run `init certificates`/],
    ['DEPTH_ZERO_SELF_SIGNED_CERT', /set TLS_CA/],
    ['SELF_SIGNED_CERT_IN_CHAIN', /set TLS_CA/],
    ['UNABLE_TO_VERIFY_LEAF_SIGNATURE', /set TLS_CA/],
    ['ERR_TLS_CERT_ALTNAME_INVALID', /add the name to TLS_NAMES/],
    ['CERT_NOT_YET_VALID', /clocks/],
    ['ERR_SSL_WRONG_VERSION_NUMBER', /does not speak TLS/],
  ] as const) {
    it(`puts ${code} into words`, () => {
      expect(tlsProblem(failing(code))).to.match(words)
    })
  }

  it('has nothing to say about other errors', () => {
    expect(tlsProblem(failing('ECONNREFUSED'))).to.equal(undefined)
  })
})

describe('trustedCas', () => {
  it("leaves Node's own list alone without a file", () => {
    expect(trustedCas('')).to.equal(undefined)
  })

  for (const file of ['/nowhere/ca.crt', 'package.json']) {
    it(`refuses ${file} for a CA file`, () => {
      expect(() => trustedCas(file)).to.throw(FatalError, `read the CA file ${file}: `)
    })
  }
})
