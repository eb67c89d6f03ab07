// The health endpoints over real HTTP.
import { expect } from 'chai'
import { Counter, Registry } from '@prometheus-io/client'
import { loadConfig } from '../../../services/shared/config.ts'
import { FatalError } from '../../../services/shared/errors.ts'
import { startHealth, type Health, type HealthOptions } from '../../../services/shared/health.ts'
import { silentLog } from '../../../services/shared/log.ts'
import { rejection } from '../../support/rejection.ts'

const config = (env: Record<string, string> = {}) =>
  loadConfig({ service: 'avscan', env: { HTTP_PORT: '0', ...env } })

describe('startHealth', () => {
  let health: Health | undefined
  const start = async (options: Partial<HealthOptions> = {}) => {
    health = await startHealth(config(), silentLog, {
      notReady: () => [],
      registry: new Registry(),
      ...options,
    })
    const { port } = health
    return (path: string, init?: RequestInit) => fetch(`http://127.0.0.1:${port}${path}`, init)
  }
  afterEach(async () => {
    await health?.close()
    health = undefined
  })

  it('is alive even when it is not ready', async () => {
    const get = await start({ notReady: () => ['clamd is not there'] })

    const [alive, ready] = [await get('/healthz'), await get('/readyz?verbose')]

    expect([alive.status, await alive.json()]).to.deep.equal([200, { status: 'ok' }])
    expect([ready.status, await ready.json()]).to.deep.equal([
      503,
      { status: 'not ready', reasons: ['clamd is not there'] },
    ])
  })

  it('becomes ready when the reasons are gone, and shows its facts', async () => {
    const reasons = ['starting']
    const get = await start({ notReady: () => reasons, facts: () => ({ engine: 'ClamAV 1.4' }) })

    const before = await get('/readyz')
    reasons.pop()
    const after = await get('/readyz')

    expect([before.status, after.status]).to.deep.equal([503, 200])
    expect(await after.json()).to.deep.equal({ status: 'ready', reasons: [], engine: 'ClamAV 1.4' })
  })

  it('answers metrics, after looking up the gauges', async () => {
    const registry = new Registry()
    const counter = new Counter({ name: 'looked_up_total', help: 'x', registers: [registry] })
    const get = await start({ registry, collect: () => counter.inc() })

    const answer = await get('/metrics')

    expect(answer.headers.get('content-type')).to.match(/^text\/plain/)
    expect(await answer.text()).to.include('looked_up_total 1')
  })

  it('answers 500 and lives on when a look-up throws', async () => {
    const get = await start({
      notReady: () => {
        throw new Error('no reasons today')
      },
      collect: () => {
        throw new Error('no gauge today')
      },
    })

    expect((await get('/metrics')).status).to.equal(500)
    expect((await get('/readyz')).status).to.equal(500)
    expect((await get('/healthz')).status).to.equal(200)
  })

  it('knows nothing else', async () => {
    const get = await start()

    expect((await get('/')).status).to.equal(404)
    expect((await get('/healthz/../etc/passwd')).status).to.equal(404)
    expect((await get('/healthz', { method: 'POST', body: 'x' })).status).to.equal(405)
    expect((await get('/healthz', { method: 'HEAD' })).status).to.equal(200)
  })

  it('says which port is taken and what to do', async () => {
    await start()

    const error = await rejection(
      startHealth(config({ HTTP_PORT: String(health?.port) }), silentLog, {
        notReady: () => [],
        registry: new Registry(),
      }),
    )

    expect(error).to.be.instanceOf(FatalError)
    expect(error).to.include({
      message: `listen on 127.0.0.1:${health?.port}`,
      hint: 'another process has this port; set HTTP_PORT',
    })
  })
})
