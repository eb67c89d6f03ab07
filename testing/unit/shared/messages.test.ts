// The decoder against every store's dialect and against bytes that no store sends; ids that never change.
import { expect } from 'chai'
import { DiscardError } from '../../../services/shared/errors.ts'
import {
  decodeActionJob,
  decodeEvents,
  decodeJobs,
  decodeOutMessage,
  messageId,
  type ScanJob,
} from '../../../services/shared/messages.ts'
import { events } from '../../fixtures/events.ts'

const bytes = (value: unknown) => Buffer.from(JSON.stringify(value))

function event(record: Record<string, unknown>, object: Record<string, unknown> = {}) {
  return {
    Records: [
      {
        eventSource: 'minio:s3',
        eventName: 's3:ObjectCreated:Put',
        s3: {
          configurationId: 'Config',
          bucket: { name: 'uploads' },
          object: { key: 'a.txt', ...object },
        },
        ...record,
      },
    ],
  }
}

const versity = (object: Record<string, unknown>, eventName = 's3:ObjectCreated:Put') => ({
  Records: [
    {
      eventSource: 'aws:s3',
      eventName,
      s3: { configurationId: 'rabbitmq-global', bucket: { name: 'uploads' }, object },
    },
  ],
})

const only = (jobs: ScanJob[]) => {
  expect(jobs).to.have.length(1)
  return jobs[0]?.object
}

describe('decodeJobs: dialects', () => {
  it('tells who has uploaded, where the store says it', () => {
    const body = event({
      eventName: 's3:ObjectCreated:Put',
      userIdentity: { principalId: 'app-one' },
    })

    expect(decodeJobs(bytes(body)).map(({ uploader }) => uploader)).to.deep.equal(['app-one'])
  })

  it('believes no name in the event of a form, which MinIO takes from a header that nobody checks', () => {
    const body = event({
      eventName: 's3:ObjectCreated:Post',
      userIdentity: { principalId: 'somebody-else' },
    })

    expect(decodeJobs(bytes(body)).map(({ uploader }) => uploader)).to.deep.equal([undefined])
  })

  for (const { store, body, job } of events) {
    it(`reads an event of ${store}`, () => {
      type Stored = { eventTime?: string; userIdentity?: Record<string, string> }
      const [{ eventTime, userIdentity = {} } = {}] = (body as { Records: Stored[] }).Records
      const { principalId, PrincipalId = `bucket ${job.bucket}` } = userIdentity
      const uploader = principalId ?? PrincipalId
      const after = eventTime === undefined ? undefined : new Date(eventTime)
      const event = job.sequencer

      expect(decodeJobs(bytes(body))).to.deep.equal([
        { object: job, trigger: { kind: 'event', after, event }, uploader },
      ])
    })
  }

  for (const [encoded, key] of [
    ['a+b', 'a b'],
    ['a%2Bb', 'a+b'],
    ['a%20b', 'a b'],
    ['a%2Fb', 'a/b'],
    ['a/b', 'a/b'],
    ['100%25', '100%'],
    ['%25%32%46', '%2F'],
    ['%C3%A4%E2%82%AC%F0%9F%A6%A0', 'ä€🦠'],
    ['%22quoted%22+%27too%27', '"quoted" \'too\''],
    ['%3Fversion%3D1%26x%23y', '?version=1&x#y'],
    ['..%2F..%2Fetc%2Fpasswd', '../../etc/passwd'],
    ['line%0Abreak%00', 'line\nbreak\u0000'],
    ['ünencoded', 'ünencoded'],
    ['folder/', 'folder/'],
  ] as const) {
    it(`decodes the key ${encoded}`, () => {
      expect(only(decodeJobs(bytes(event({}, { key: encoded }))))?.key).to.equal(key)
    })
  }

  for (const key of ['a+b', 'a%2Fb', '100%', '%zz', 'a b', '"', 'ä€🦠']) {
    it(`leaves VersityGW's key ${key} as it is`, () => {
      expect(only(decodeJobs(bytes(versity({ key }))))?.key).to.equal(key)
    })
  }

  it("believes the path in VersityGW's ARN, for the names beside it may be those of the next request", () => {
    const event = versity({ key: 'next.txt' })
    const [record] = event.Records
    if (record === undefined) throw new Error('the event has no record')
    Object.assign(record.s3.bucket, {
      name: 'avscan-recor',
      arn: 'arn:aws:s3:::/uploads/a/b c.txt',
    })

    expect(only(decodeJobs(bytes(event)))).to.include({ bucket: 'uploads', key: 'a/b c.txt' })
  })

  it('takes an empty key for a POST form of VersityGW, and only of VersityGW', () => {
    expect(only(decodeJobs(bytes(versity({ key: '' }, 's3:ObjectCreated:Post'))))?.key).to.equal('')
    expect(() => decodeJobs(bytes(event({}, { key: '' })))).to.throw(DiscardError)
  })

  for (const [what, versionId] of [
    ['missing', undefined],
    ['null', null],
    ['empty', ''],
    ['a number', 7],
  ] as const) {
    it(`takes a version id that is ${what} for none`, () => {
      expect(only(decodeJobs(bytes(event({}, { versionId }))))?.versionId).to.equal(undefined)
    })
  }

  it('keeps the version called null, which a store has where versioning is suspended', () => {
    expect(only(decodeJobs(bytes(event({}, { versionId: 'null' }))))?.versionId).to.equal('null')
  })

  it('takes it for none from VersityGW, which says so of every version', () => {
    expect(only(decodeJobs(bytes(versity({ key: 'a', versionId: 'null' }))))?.versionId).to.equal(
      undefined,
    )
  })

  for (const eventTime of [undefined, null, '', 'yesterday', 7])
    it(`takes the event time ${JSON.stringify(eventTime)} for none`, () => {
      const [job] = decodeJobs(bytes(event({ eventTime })))

      expect(job?.trigger).to.deep.include({ kind: 'event', after: undefined })
    })

  it('strips the quotes of an etag and takes an empty one for none', () => {
    expect(only(decodeJobs(bytes(event({}, { eTag: '"abc-2"' }))))?.etag).to.equal('abc-2')
    expect(only(decodeJobs(bytes(event({}, { eTag: '""' }))))?.etag).to.equal(undefined)
  })

  it('leaves out a size that is missing or no number', () => {
    expect(only(decodeJobs(bytes(event({}))))?.size).to.equal(undefined)
    expect(only(decodeJobs(bytes(event({}, { size: '12' }))))?.size).to.equal(undefined)
  })

  it('makes a job of each record that is wanted', () => {
    const records = ['a', 'b', 'c'].flatMap((key) => event({}, { key }).Records)
    const removed = event({ eventName: 's3:ObjectRemoved:Delete' }, { key: 'x' }).Records

    const jobs = decodeJobs(bytes({ Records: [...records, ...removed] }))

    expect(jobs.map(({ object }) => object.key)).to.deep.equal(['a', 'b', 'c'])
  })

  for (const name of [
    'ObjectCreated:Put',
    'ObjectCreated:Post',
    'ObjectCreated:Copy',
    'ObjectCreated:CompleteMultipartUpload',
    's3:ObjectCreated:Put',
    's3:ObjectCreated:CompleteMultipartUpload',
  ]) {
    it(`makes a job of ${name}`, () => {
      expect(decodeJobs(bytes(event({ eventName: name })))).to.have.length(1)
    })
  }

  for (const name of [
    's3:ObjectCreated:PutTagging',
    's3:ObjectCreated:DeleteTagging',
    's3:ObjectCreated:PutRetention',
    's3:ObjectTagging:Put',
    's3:ObjectRemoved:Delete',
    's3:ObjectRemoved:DeleteMarkerCreated',
    's3:ObjectAccessed:Get',
    's3:ObjectCreated:*',
    's3:ObjectCreated:',
    'ObjectCreated',
    's3:Replication:OperationCompletedReplication',
  ]) {
    it(`makes no job of ${name}`, () => {
      expect(decodeJobs(bytes(event({ eventName: name })))).to.deep.equal([])
    })
  }

  it('makes no job of a test event or of an empty list', () => {
    expect(decodeJobs(bytes({ Service: 'Amazon S3', Event: 's3:TestEvent' }))).to.deep.equal([])
    expect(decodeJobs(bytes({ Records: [] }))).to.deep.equal([])
    expect(decodeJobs(bytes({ objects: [] }))).to.deep.equal([])
  })
})

describe('decodeJobs: jobs of ours', () => {
  it('leaves keys as they are and keeps version, etag, size and trigger', () => {
    const object = { bucket: 'b', key: 'a+b%20c', versionId: 'v1', etag: '"e"', size: 3 }

    const jobs = decodeJobs(bytes({ objects: [object], trigger: { kind: 'rescan', id: 'g1' } }))

    expect(jobs).to.deep.equal([
      { object: { ...object, etag: 'e' }, trigger: { kind: 'rescan', id: 'g1' } },
    ])
  })

  it('takes a job without a trigger for one made by hand', () => {
    expect(decodeJobs(bytes({ objects: [{ bucket: 'b', key: 'k' }] }))[0]?.trigger).to.deep.equal({
      kind: 'manual',
      id: undefined,
    })
  })

  for (const kind of ['manual', 'verify', 'sweep', 'rescan']) {
    it(`knows the trigger ${kind}`, () => {
      const body = bytes({ objects: [{ bucket: 'b', key: 'k' }], trigger: { kind } })

      expect(decodeJobs(body)[0]?.trigger.kind).to.equal(kind)
    })
  }
})

const malformed: Record<string, Buffer> = {
  'no bytes at all': Buffer.alloc(0),
  'text that is not JSON': Buffer.from('hello'),
  'JSON cut in half': bytes(event({})).subarray(0, 60),
  'more than 4 MiB': bytes({ ...event({}), padding: ' '.repeat(4 * 2 ** 20) }),
  'bytes that are not UTF-8': Buffer.from([0xff, 0xfe, 0x00, 0x7b]),
  'a gzip': Buffer.from('1f8b0800000000000003', 'hex'),
  null: bytes(null),
  'a number': bytes(42),
  'a string': bytes('Records'),
  'a list': bytes([event({})]),
  'an empty object': bytes({}),
  'Records that are no list': bytes({ Records: { 0: {} } }),
  'a record that is null': bytes({ Records: [null] }),
  'a record without a name': bytes({ Records: [{}] }),
  'a name that is a number': bytes(event({ eventName: 1 })),
  'a record without s3': bytes(event({ s3: undefined })),
  's3 that is a list': bytes(event({ s3: [] })),
  'a record without a bucket': bytes(event({ s3: { object: { key: 'k' } } })),
  'a bucket without a name': bytes(event({ s3: { bucket: { name: '' }, object: { key: 'k' } } })),
  'a record without an object': bytes(event({ s3: { bucket: { name: 'b' } } })),
  'a key that is a number': bytes(event({}, { key: 5 })),
  'a key that is badly encoded': bytes(event({}, { key: 'a%E4b' })),
  'a key that ends in %': bytes(event({}, { key: '100%' })),
  'one bad record among good ones': bytes({ Records: [...event({}).Records, null] }),
  'a job whose object is a string': bytes({ objects: ['b/k'] }),
  'a job without a bucket': bytes({ objects: [{ key: 'k' }] }),
  'a job without a key': bytes({ objects: [{ bucket: 'b', key: '' }] }),
  'a job with an unknown trigger': bytes({ objects: [], trigger: { kind: 'because' } }),
}

describe('decodeEvents', () => {
  it('reads what a store says as decodeJobs does', () => {
    expect(decodeEvents(bytes(event({})))).to.deep.equal(decodeJobs(bytes(event({}))))
  })

  for (const kind of ['manual', 'verify', 'sweep', 'rescan'])
    it(`refuses a ${kind} job: it could keep a verdict from being told`, () => {
      const forged = { objects: [{ bucket: 'b', key: 'k', previous: 'clean' }], trigger: { kind } }

      expect(() => decodeEvents(bytes(forged))).to.throw(DiscardError, 'only the store')
    })
})

describe('decodeJobs: what is no message of ours', () => {
  it('takes no etag from what no store can have given, for it could not be asked for', () => {
    for (const etag of ['line\nbreak', '\u0000', 'snow ☃', ' ', '"'])
      expect(
        decodeJobs(bytes({ objects: [{ bucket: 'b', key: 'k', etag }] }))[0]?.object.etag,
      ).to.equal(undefined)
  })

  for (const name of ['bucket', 'key', 'versionId'] as const) {
    it(`discards a ${name} that is no Unicode text and so no name of anything`, () => {
      const object = { bucket: 'uploads', key: 'a', versionId: 'v', [name]: 'half \ud800' }
      const body = Buffer.from(JSON.stringify({ objects: [object] }))

      expect(() => decodeJobs(body)).to.throw(DiscardError, 'is no Unicode text')
    })
  }

  for (const [what, body] of Object.entries(malformed)) {
    it(`discards ${what}`, () => {
      expect(() => decodeJobs(body)).to.throw(DiscardError)
    })
  }

  it('returns jobs or discards whatever 5000 mutations make of good messages', () => {
    const seeds = [
      ...events.map(({ body }) => bytes(body)),
      bytes({ objects: [{ bucket: 'b', key: 'k', versionId: 'v' }], trigger: { kind: 'sweep' } }),
    ]
    const random = mulberry32(20261121)
    const endings = { jobs: 0, discarded: 0 }

    for (let round = 0; round < 5000; round++) {
      const body = mutate(seeds[round % seeds.length] ?? Buffer.alloc(0), random)
      try {
        for (const { object } of decodeJobs(body)) {
          expect(object.bucket, body.toString()).to.be.a('string').and.not.equal('')
          expect(object.key, body.toString()).to.be.a('string')
        }
        endings.jobs++
      } catch (error) {
        expect(error, body.toString()).to.be.instanceOf(DiscardError)
        endings.discarded++
      }
    }

    expect(endings.jobs).to.be.greaterThan(100)
    expect(endings.discarded).to.be.greaterThan(1000)
  })
})

function mulberry32(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

const pieces = [
  'null',
  '[]',
  '{}',
  '""',
  '-1',
  '1e999',
  '"%"',
  '\\u0000',
  ',',
  ']',
  '}',
  '"key":',
  '%E4',
]

/** One to four changes: a byte flipped, a piece cut out, doubled or put in, a value replaced. */
function mutate(body: Buffer, random: () => number): Buffer {
  const at = (length: number) => Math.floor(random() * length)
  let text = body
  for (let change = 0; change <= at(4); change++) {
    const from = at(text.length)
    const to = Math.min(text.length, from + at(24))
    const piece = Buffer.from(pieces[at(pieces.length)] ?? '')
    const [head, middle, tail] = [
      text.subarray(0, from),
      text.subarray(from, to),
      text.subarray(to),
    ]
    switch (at(5)) {
      case 0:
        text = Buffer.from(text)
        text[from] = at(256)
        break
      case 1:
        text = Buffer.concat([head, tail])
        break
      case 2:
        text = Buffer.concat([head, middle, middle, tail])
        break
      case 3:
        text = Buffer.concat([head, piece, tail])
        break
      default: {
        const values = text.toString('latin1').match(/:("[^"]*"|\d+|null)/g) ?? [':1']
        const value = values[at(values.length)] ?? ':1'
        text = Buffer.from(text.toString('latin1').replace(value, `:${piece.toString()}`), 'latin1')
      }
    }
  }
  return text
}

describe('decodeActionJob', () => {
  const job = {
    action: 'delete',
    object: {
      bucket: 'b',
      key: 'k',
      versionId: 'v',
      etag: 'e',
      lastModified: '2026-11-21T00:00:00.000Z',
    },
    verdictId: 'id',
    signature: 'Eicar',
    seal: 'seal',
  }

  it('returns the job as it was written', () => {
    expect(decodeActionJob(bytes(job))).to.deep.equal(job)
  })

  it('never deletes by a job that leaves out what pins the version', () => {
    for (const field of ['bucket', 'key', 'etag', 'lastModified'])
      expect(
        () => decodeActionJob(bytes({ ...job, object: { ...job.object, [field]: undefined } })),
        field,
      ).to.throw(DiscardError)
    expect(() => decodeActionJob(bytes({ ...job, verdictId: '' }))).to.throw(DiscardError)
  })

  it('discards another action and anything that is no job', () => {
    for (const body of [
      bytes({ ...job, action: 'format' }),
      bytes([]),
      bytes(null),
      Buffer.from('{'),
    ])
      expect(() => decodeActionJob(body)).to.throw(DiscardError)
  })
})

describe('decodeOutMessage', () => {
  const message = {
    type: 'object.deleted',
    timestamp: '2026-11-21T00:00:00.000Z',
    data: { s3ObjectDetails: { bucketName: 'b', objectKey: 'k' } },
  }

  it('passes on everything that the message holds', () => {
    const more = { ...message, data: { ...message.data, future: 1 } }

    expect(decodeOutMessage(bytes(more))).to.deep.equal(more)
  })

  it('discards a message without type, time, bucket or key', () => {
    const details = { s3ObjectDetails: { bucketName: 'b' } }
    for (const broken of [
      { ...message, type: 1 },
      { ...message, timestamp: undefined },
      { ...message, data: undefined },
      { ...message, data: {} },
      { ...message, data: { s3ObjectDetails: { objectKey: 'k' } } },
      { ...message, data: details },
      { ...message, data: { s3ObjectDetails: { bucketName: 'b', objectKey: 7 } } },
    ])
      expect(() => decodeOutMessage(bytes(broken)), JSON.stringify(broken)).to.throw(DiscardError)
  })
})

describe('messageId', () => {
  const facts: (string | undefined)[] = [
    'bucket',
    'key',
    'v1',
    'etag',
    '1700000000',
    'INFECTED',
    undefined,
  ]

  it('is the same for the same facts, today and in every version to come', () => {
    expect(messageId(...facts)).to.equal('48485746-d9b0-5198-89f6-d0cf5fe4eb06')
    expect(messageId('ä/"', undefined)).to.equal(messageId('ä/"', undefined))
  })

  it('differs when any fact does', () => {
    const ids = facts.map((_, index) => messageId(...facts.with(index, 'other')))

    expect(new Set([messageId(...facts), ...ids])).to.have.property('size', facts.length + 1)
  })

  it('cannot be made equal by moving a separator', () => {
    expect(messageId('a', 'b","c')).not.to.equal(messageId('a","b', 'c'))
    expect(messageId('a', undefined)).not.to.equal(messageId('a', 'null'))
    expect(messageId('a', '')).not.to.equal(messageId('a', undefined))
  })
})
