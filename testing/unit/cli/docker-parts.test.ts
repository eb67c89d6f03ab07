// Containers in the words of `make status` and `make logs`.
import { expect } from 'chai'
import { partName, renderComposeLine, serviceOf } from '../../../services/cli/docker-parts.ts'

describe('the parts of a Compose deployment', () => {
  it('have the names that the native runtime gives them', () => {
    expect(partName({ service: 'avscan-script', number: 2 })).to.equal('avscan-2')
    expect(partName({ service: 'mq-service', number: 1 })).to.equal('broker')
    expect(partName({ service: 'minio-service', number: 1 })).to.equal('store')
    expect(partName({ service: 'clamd-service', number: 1 })).to.equal('engine')
    expect(partName({ service: 'reconciler', number: 1 })).to.equal('reconciler')
  })

  it('are found by those names or by the service', () => {
    expect(serviceOf('avscan')).to.equal('avscan-script')
    expect(serviceOf('avscan-2')).to.equal('avscan-script')
    expect(serviceOf('broker')).to.equal('mq-service')
    expect(serviceOf('mq-service-init')).to.equal('mq-service-init')
  })

  it('show a JSON line of theirs as text behind their name', () => {
    const line = JSON.stringify({
      timestamp: '2026-01-02T03:04:05.678Z',
      level: 'info',
      message: 'object scanned',
      key: 'a b',
    })

    expect(renderComposeLine(`avscan-script-2  | ${line}`)).to.equal(
      '[avscan-2] 03:04:05.678 object scanned key="a b"',
    )
  })

  it("show another program's line as it is, without what was meant for a terminal", () => {
    expect(renderComposeLine('\u001b[2Kmq-service-1  | started')).to.equal('[broker] started')
  })
})
