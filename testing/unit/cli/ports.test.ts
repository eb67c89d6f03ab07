import { expect } from 'chai'
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { choosePorts, isPortFree, listPorts, readPorts } from '../../../services/cli/ports.ts'
import { rejection } from '../../support/rejection.ts'

const allFree = () => Promise.resolve(true)

describe('choosePorts', () => {
  let runDir: string
  beforeEach(() => {
    runDir = mkdtempSync(join(tmpdir(), 'ports-'))
  })
  afterEach(() => rmSync(runDir, { recursive: true }))

  const choose = (change: Partial<Parameters<typeof choosePorts>[0]> = {}) =>
    choosePorts({ runDir, scale: 1, wellKnown: true, ours: new Set(), isFree: allFree, ...change })

  it('takes the well-known ports where they are free', async () => {
    const ports = await choose()

    expect([ports.store, ports.amqps, ports.workers]).to.deep.equal([9000, 5671, [8080]])
  })

  it('takes another one for a port that is taken, and keeps it', async () => {
    const ports = await choose({ isFree: (port) => Promise.resolve(port !== 9000) })

    expect(ports.store).to.be.within(20_000, 32_000)
    expect(readPorts(runDir)).to.deep.equal(ports)
    expect(await choose()).to.deep.equal(ports)
  })

  it('gives every part a port of its own', async () => {
    const all = listPorts(await choose({ wellKnown: false, scale: 8 }))

    expect(new Set(all).size).to.equal(all.length)
  })

  it('adds ports for more workers and keeps those of fewer', async () => {
    const one = await choose()
    const three = await choose({ scale: 3 })

    expect(three.workers).to.have.length(3)
    expect(three.workers[0]).to.equal(one.workers[0])
    expect((await choose({ scale: 1 })).workers).to.deep.equal(three.workers)
  })

  it('names the stored port that somebody else holds now', async () => {
    await choose()

    const error = await rejection(choose({ isFree: (port) => Promise.resolve(port !== 5671) }))

    expect(error.message).to.contain('5671 (amqps)')
    expect(error).to.have.property('hint').that.contains('ports.json')
  })

  it('does not mind its own running parts', async () => {
    const ports = await choose()

    expect(
      await choose({ ours: new Set(listPorts(ports)), isFree: () => Promise.resolve(false) }),
    ).to.deep.equal(ports)
  })

  it('sees a port on which somebody listens', async () => {
    const server = createServer()
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const { port } = server.address() as { port: number }

    const whileTaken = await isPortFree(port)
    await new Promise((resolve) => server.close(resolve))

    expect(whileTaken).to.equal(false)
    expect(await isPortFree(port)).to.equal(true)
  })
})
