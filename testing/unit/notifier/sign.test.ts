import { expect } from 'chai'
import { Webhook } from 'standardwebhooks'
import { signedHeaders } from '../../../services/notifier/sign.ts'
import { secretOf } from '../../support/webhook-receiver.ts'

const body = Buffer.from('{"type":"object.scan.clean","key":"Grüße 🦠"}')

describe('signedHeaders', () => {
  it('makes a signature that the reference library accepts', () => {
    const headers = signedHeaders(secretOf(1), 'id-1', body)

    expect(new Webhook(secretOf(1)).verify(body, { ...headers })).to.deep.equal(
      JSON.parse(body.toString()),
    )
  })

  it('makes exactly the signature of the reference library', () => {
    const now = 1_700_000_000_999

    const headers = signedHeaders(secretOf(1), 'id-1', body, now)

    expect(headers).to.deep.equal({
      'webhook-id': 'id-1',
      'webhook-timestamp': '1700000000',
      'webhook-signature': new Webhook(secretOf(1)).sign('id-1', new Date(now), body),
    })
  })

  it('signs with every secret, so that a receiver that knows either accepts', () => {
    const headers = { ...signedHeaders(`${secretOf(1)},${secretOf(2)}`, 'id-1', body) }

    expect(() => new Webhook(secretOf(1)).verify(body, headers)).not.to.throw()
    expect(() => new Webhook(secretOf(2)).verify(body, headers)).not.to.throw()
    expect(() => new Webhook(secretOf(3)).verify(body, headers)).to.throw(/No matching signature/)
  })

  it('binds id and body: another one is refused', () => {
    const headers = { ...signedHeaders(secretOf(1), 'id-1', body) }
    const webhook = new Webhook(secretOf(1))

    expect(() => webhook.verify(body, { ...headers, 'webhook-id': 'id-2' })).to.throw()
    expect(() => webhook.verify(`${body.toString()} `, headers)).to.throw()
  })
})
