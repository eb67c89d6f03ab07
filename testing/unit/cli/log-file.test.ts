import { expect } from 'chai'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, rmdirSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { openLogFile } from '../../../services/cli/log-file.ts'

describe('openLogFile', () => {
  it('goes on when a line cannot be written, and says later how many', () => {
    const folder = mkdtempSync(join(tmpdir(), 'log-file-'))
    const path = join(folder, 'part.log')
    try {
      const log = openLogFile(path, { maxBytes: 1000 })
      // Nothing can be appended to a folder, as little as to a full disk.
      mkdirSync(path)
      log.write('one\ntwo\n')
      rmdirSync(path)
      log.write('three\n')

      expect(readFileSync(path, 'utf8')).to.equal(
        '2 lines before this one could not be written\nthree\n',
      )
    } finally {
      rmSync(folder, { recursive: true })
    }
  })
})
