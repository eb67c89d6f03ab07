// Which calls of the audit log are judged again. The entries are shortened ones of a real MinIO (RELEASE.2026-02-12); the
// integration test has the store make them.
import { expect } from 'chai'
import type { Uploads } from '../../../services/store-audit/uploads.ts'
import { decide, type Written } from '../../../services/store-audit/decide.ts'
import { parseEntry, type AuditEntry } from '../../../services/store-audit/entry.ts'

const version = 'f66c9b8f-cad6-45ae-a2fc-7083693fe193'
const buckets = new Set(['storagebucket', 'second'])

interface Call {
  api?: Record<string, unknown>
  path?: string
  host?: string
  query?: Record<string, string>
  headers?: Record<string, string>
  answered?: Record<string, string>
  tags?: Record<string, string>
}

const entry = ({ api, path, host, query, headers, answered, tags }: Call): AuditEntry =>
  parseEntry(
    JSON.stringify({
      version: '1',
      time: '2026-11-26T01:09:13.006741261Z',
      api: { name: 'PutObject', bucket: 'storagebucket', object: 'a b', statusCode: 200, ...api },
      requestPath: path ?? '/storagebucket/a b',
      requestHost: host ?? '127.0.0.1:9000',
      requestQuery: query,
      requestHeader: { 'Content-Length': '1', 'X-Amz-Date': '20261126T010912Z', ...headers },
      responseHeader: { 'X-Amz-Request-Id': '18EB73079E5732EA', ...answered },
      tags,
      accessKey: 'miniouser',
      remotehost: '192.0.2.7',
    }),
    Date.parse('2026-11-26T01:10:00Z'),
  )

const asBegun: Uploads['has'] = ({ key }) => (key === 'a b' ? 'begun' : undefined)
const of = (call: Call, begun?: Uploads['has']) => decide(entry(call), buckets, begun)
const written = { bucket: 'storagebucket', key: 'a b' }

const verify = (signs: string[], what: Written = written) => ({
  kind: 'verify',
  written: what,
  signs,
})

describe('decide', () => {
  describe('leaves alone', () => {
    const cases: Record<string, Call> = {
      'an ordinary write': { answered: { 'x-amz-version-id': version } },
      'an ordinary copy, of a version': {
        api: { name: 'CopyObject' },
        headers: { 'X-Amz-Copy-Source': `/storagebucket/x?versionId=${version}` },
      },
      'an ordinary end of an upload': { api: { name: 'CompleteMultipartUpload' } },
      'reading a version': { api: { name: 'GetObject' }, query: { versionId: version } },
      'deleting a version': { api: { name: 'DeleteObject' }, query: { versionId: version } },
      'tagging a version': { api: { name: 'PutObjectTagging' }, query: { versionId: version } },
      'a write that was refused': { api: { statusCode: 403 }, query: { versionId: version } },
      'a forged write in a bucket that is not ours': {
        api: { bucket: 'others' },
        path: '/others/a b',
        query: { versionId: version },
      },
      'a forged copy into a bucket that is not ours': {
        api: { name: 'CopyObject' },
        path: '/others/x',
        query: { versionId: version },
      },
      'an empty version': { query: { versionId: '' } },
    }
    for (const [name, call] of Object.entries(cases))
      it(name, () => {
        expect(of(call)).to.deep.equal({ kind: 'nothing' })
      })
  })

  describe('has one object judged again', () => {
    it('whose version the request named', () => {
      const answered = { 'x-amz-version-id': version }
      expect(of({ query: { versionId: version }, answered })).to.deep.equal(
        verify(['versionId'], { ...written, versionId: version }),
      )
    })

    it('whose version was null, which no answer names', () => {
      expect(of({ query: { versionId: 'null' } })).to.deep.equal(
        verify(['versionId'], { ...written, versionId: 'null' }),
      )
    })

    for (const name of [
      'X-Minio-Source-Etag',
      'X-Minio-Source-Mtime',
      'X-Minio-Source-Replication-Request',
      'x-minio-source-replication-tagging-timestamp',
      'X-Minio-Source-Something-New',
      'X-Minio-Replication-Actual-Object-Size',
      'X-Amz-Replication-Status',
      'X-AMZ-BUCKET-REPLICATION-STATUS',
    ])
      it(`for ${name}`, () => {
        const found = of({ headers: { [name]: 'x' }, answered: { 'X-Amz-Version-Id': version } })
        expect(found).to.deep.equal(
          verify([name.toLowerCase()], { ...written, versionId: version }),
        )
      })

    for (const status of [0, 200, 204, 303, 499, 500, 503])
      it(`at status ${status}, which does not say that nothing was written`, () => {
        expect(of({ api: { statusCode: status }, query: { versionId: version } }).kind).to.equal(
          'verify',
        )
      })

    it('that was copied, by the target and not by the source', () => {
      const call = {
        api: { name: 'CopyObject', bucket: 'others', object: 'source' },
        headers: { 'X-Amz-Copy-Source': '/others/source' },
        query: { versionId: version },
      }
      const target = { ...written, bucket: 'second', versionId: version }
      for (const path of ['/second/a b', '/second//a b', '/second///a b'])
        expect(of({ ...call, path }), path).to.deep.equal(verify(['versionId'], target))
      expect(of({ ...call, path: '/a b', host: 'second.example:9000' })).to.deep.equal(
        verify(['versionId'], target),
      )
    })

    it('that came by a form, under the name that the store has noted', () => {
      const call = {
        api: { name: 'PostPolicyBucket', object: undefined },
        path: '/storagebucket',
        query: { versionId: version },
        answered: { Location: 'http://x/storagebucket/form/%C3%B6%20a.txt' },
        tags: { PutObject: 'name=form/ö,pool=2 a.txt,pool=1,set=1' },
      }
      expect(of(call)).to.deep.equal(
        verify(['versionId'], { ...written, key: 'form/ö,pool=2 a.txt', versionId: version }),
      )
    })

    it('whose upload was begun so', () => {
      const begin = {
        api: { name: 'NewMultipartUpload' },
        query: { uploads: '', versionId: version },
      }
      const end = {
        api: { name: 'CompleteMultipartUpload' },
        answered: { 'x-amz-version-id': version },
      }
      const target = { ...written, versionId: version }

      expect(of(begin)).to.deep.equal({ kind: 'begun', written: target, signs: ['versionId'] })
      expect(of(end, asBegun)).to.deep.equal(verify(['begun with a forged identity'], target))
      expect(of(end, () => undefined)).to.deep.equal({ kind: 'nothing' })
    })

    it('of whose beginning nothing is known, and accuses nobody', () => {
      const end = { api: { name: 'CompleteMultipartUpload' } }

      expect(of(end, () => 'unknown')).to.deep.equal(verify([], written))
    })
  })

  describe('has everything judged again', () => {
    const headers = { 'X-Minio-Source-Replication-Request': 'true' }

    it('for an archive without events, also one that failed in the middle', () => {
      for (const statusCode of [200, 400, 500]) {
        const api = { name: 'PutObjectExtract', object: 'some.tar', statusCode }
        const tags = { PutObject: 'name=tar/one,pool=1,set=1' }
        const found = of({ api, headers, tags })
        expect(found).to.deep.equal({
          kind: 'sweep',
          bucket: 'storagebucket',
          signs: ['x-minio-source-replication-request', 'archive'],
        })
      }
    })

    it('for a form whose names are not known', () => {
      const api = { name: 'PostPolicyBucket', object: undefined }
      const answered = { Location: 'http://x/storagebucket/a' }
      const tags = { PutObject: 'name=a,pool=1,set=1' }
      for (const call of [{ tags }, { answered }])
        expect(of({ api, headers, ...call }).kind, JSON.stringify(call)).to.equal('sweep')
    })

    it('for a copy whose path names no target', () => {
      expect(of({ api: { name: 'CopyObject' }, headers, path: '/x' }).kind).to.equal('sweep')
    })
  })

  it('lets the events tell of what an archive holds', () => {
    const api = { name: 'PutObjectExtract' }
    expect(of({ api })).to.deep.equal({ kind: 'unpacked' })
    const signed = { api, headers: { 'X-Minio-Source-Etag': 'x' } }
    expect(of(signed)).to.deep.equal({ kind: 'unpacked' })
  })

  it('asks for nothing when an archive was refused before anything was written', () => {
    const api = { name: 'PutObjectExtract', statusCode: 403 }
    const headers = { 'X-Minio-Source-Replication-Request': 'true' }
    expect(of({ api, headers })).to.deep.equal({ kind: 'nothing' })
  })
})

describe('parseEntry', () => {
  for (const line of ['', '{', '[]', '1', '{}', '{"time":"yesterday"}'])
    it(`refuses ${JSON.stringify(line)}`, () => {
      expect(() => parseEntry(line)).to.throw(/audit entry/)
    })

  it('takes an entry of the store itself, which has no request', () => {
    const found = parseEntry(
      '{"time":"2026-11-26T01:09:13Z","event":"scanner:manyversions","api":{}}',
    )
    expect(decide(found, buckets)).to.deep.equal({ kind: 'nothing' })
  })
})
