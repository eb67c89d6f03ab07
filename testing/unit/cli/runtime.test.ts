import { expect } from 'chai'
import { chooseRuntime, type Surroundings } from '../../../services/cli/runtime.ts'
import { rejection } from '../../support/rejection.ts'

const around = (change: Partial<Surroundings> = {}): Surroundings => ({
  forced: undefined,
  deployed: undefined,
  dockerTrouble: () => Promise.resolve(undefined),
  platform: 'linux',
  hasApt: true,
  ...change,
})
const neverAsked = () => Promise.reject(new Error('asked'))
const noDocker = () => Promise.resolve('docker is not installed')

describe('chooseRuntime', () => {
  it('takes docker when an engine answers', async () => {
    expect(await chooseRuntime(around())).to.deep.equal({
      name: 'docker',
      why: 'a Docker engine answers',
    })
  })

  it('takes native when none does, and says why none does', async () => {
    const { name, why } = await chooseRuntime(around({ dockerTrouble: noDocker }))

    expect(name).to.equal('native')
    expect(why).to.contain('docker is not installed')
  })

  it('does what RUNTIME says without asking the engine', async () => {
    const dockerTrouble = neverAsked

    expect((await chooseRuntime(around({ forced: 'native', dockerTrouble }))).name).to.equal(
      'native',
    )
    expect((await chooseRuntime(around({ forced: 'docker', dockerTrouble }))).name).to.equal(
      'docker',
    )
  })

  it('refuses a RUNTIME that it does not know, naming those it does', async () => {
    const error = await rejection(chooseRuntime(around({ forced: 'podman' })))

    expect(error.message).to.contain('RUNTIME=podman')
    expect(error).to.have.property('hint').that.contains('RUNTIME=native')
  })

  it('keeps the runtime of what is deployed', async () => {
    expect((await chooseRuntime(around({ deployed: 'native' }))).name).to.equal('native')
  })

  it('refuses native where there is no apt', async () => {
    const error = await rejection(chooseRuntime(around({ dockerTrouble: noDocker, hasApt: false })))

    expect(error.message).to.contain('needs Debian or Ubuntu')
  })
})
