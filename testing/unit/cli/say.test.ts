import { expect } from 'chai'
import { explain } from '../../../services/cli/say.ts'
import { ConfigError } from '../../../services/shared/config.ts'
import { FatalError } from '../../../services/shared/errors.ts'

describe('explain', () => {
  it('names every configuration mistake and says to mend them', () => {
    const text = explain(new ConfigError(['a.yaml:1:2 x: wrong', 'VOLUME_SIZE: wrong']))

    expect(text).to.include(
      'a.yaml:1:2 x: wrong\nVOLUME_SIZE: wrong\nWhat to do: mend what is named',
    )
  })

  it('passes on the hint of an error that has one', () => {
    expect(explain(new FatalError('no engine', 'start it'))).to.include(
      'no engine\nWhat to do: start it',
    )
  })

  it('points to status and logs for everything else', () => {
    expect(explain(new Error('odd'))).to.include('odd\nWhat to do: make status and make logs')
  })
})
