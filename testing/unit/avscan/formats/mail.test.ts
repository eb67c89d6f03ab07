import { expect } from 'chai'
import { fixtureOf } from '../../../../services/avscan/formats/fixtures.ts'
import { look } from '../../../../services/avscan/formats/look.ts'
import { defaultLimits, Seen, type Limits } from '../../../../services/avscan/formats/seen.ts'
import { bytesOf } from '../../../../services/avscan/formats/source.ts'

const fixture = (kind: string) => fixtureOf(kind) as Buffer

async function kindsIn(bytes: Buffer, limits?: Partial<Limits>): Promise<string[]> {
  const seen = new Seen(new AbortController().signal, { ...defaultLimits, ...limits })
  await look(bytesOf(bytes), 'a', seen)
  return [...seen.needs.keys()]
}

const mailOf = (first: string, encoding: string, body: string | Buffer) =>
  Buffer.concat([
    Buffer.from(
      `${first}\nMIME-Version: 1.0\nContent-Type: multipart/mixed; boundary="B"\n\n--B\n` +
        `Content-Type: application/zip; name="a.zip"\n${encoding}\n\n`,
    ),
    Buffer.from(body),
    Buffer.from('\n--B--\n'),
  ])

const six = (value: number) => String.fromCharCode(value === 0 ? 96 : value + 32)

function uuencoded(bytes: Buffer): string {
  const lines: string[] = []
  for (let at = 0; at < bytes.length; at += 45) {
    const part = bytes.subarray(at, at + 45)
    let line = six(part.length)
    for (let byte = 0; byte < part.length; byte += 3) {
      const [a = 0, b = 0, c = 0] = part.subarray(byte, byte + 3)
      line +=
        six(a >> 2) + six(((a & 3) << 4) | (b >> 4)) + six(((b & 15) << 2) | (c >> 6)) + six(c & 63)
    }
    lines.push(line)
  }
  return ['begin 644 a.zip', ...lines, '`', 'end', ''].join('\n')
}

const text = (size: number) => 'some text\n'.repeat(size / 10)

describe('a mail', () => {
  const zip = fixture('zip:LZMA')
  const base64 = zip.toString('base64').replaceAll(/.{76}/g, '$&\n')

  for (const first of [
    'DKIM-Signature: x',
    'ARC-Seal: i=1',
    'Authentication-Results: x',
    'List-Id:x',
    'From:a@b',
    'Return-path:<a@b>',
    '>From x',
    'Thing : x',
    '\nSubject: x',
    '\u{FEFF}Subject: x',
  ])
    it(`that begins with ${first} an archive`, async () => {
      const mail = mailOf(first, 'Content-Transfer-Encoding: base64', base64)
      expect(await kindsIn(mail)).to.include.members(['mail', 'zip:LZMA'])
    })

  it('whose headers are longer than what is read at once an archive', async () => {
    const first = 'X: y\n'.repeat(20_000) + 'From: a@b'
    const mail = mailOf(first, 'Content-Transfer-Encoding: base64', base64)
    expect(await kindsIn(mail.subarray(0))).to.include('zip:LZMA')
  })

  for (const said of ['(hi) base64', "'base64'", '\n base64'])
    it(`an archive in ${JSON.stringify(said)}`, async () => {
      const mail = mailOf('From: a@b', `Content-Transfer-Encoding : ${said}`, base64)
      expect(await kindsIn(mail)).to.include('zip:LZMA')
    })

  it('an archive in quoted-printable, as uuencode and as it is', async () => {
    const quoted = [...zip].map((byte) => `=${byte.toString(16).padStart(2, '0').toUpperCase()}`)
    const lines = quoted.join('').replaceAll(/.{60}/g, '$&=\n')
    const from = 'From: a@b'
    const encoded = (name: string, body: string | Buffer) =>
      kindsIn(mailOf(from, `Content-Transfer-Encoding: ${name}`, body))

    expect(await encoded('quoted-printable', lines)).to.include.members([
      'mail:quoted-printable',
      'zip:LZMA',
    ])
    expect(await encoded('x-uuencode', uuencoded(zip))).to.include.members([
      'mail:uuencode',
      'zip:LZMA',
    ])
    expect(await encoded('binary', zip)).to.include.members(['mail:as it is', 'zip:LZMA'])
    expect(await kindsIn(mailOf(from, 'Content-Language: en', zip))).to.include('zip:LZMA')
  })

  it('an archive where lines end with CR alone', async () => {
    const mail = mailOf('From: a@b', 'Content-Transfer-Encoding: base64', base64).toString()
    expect(await kindsIn(Buffer.from(mail.replaceAll('\n', '\r')))).to.include.members([
      'mail:with lines that end with CR',
      'zip:LZMA',
    ])
  })

  it('an archive without MIME-Version', async () => {
    const mail = mailOf('Cc: a', 'Content-Transfer-Encoding: base64', base64).toString()
    expect(await kindsIn(Buffer.from(mail.replace('MIME-Version: 1.0\n', '')))).to.include.members([
      'mail:that begins with no usual header',
      'zip:LZMA',
    ])
  })

  it('an archive whose packing is said before all usual headers', async () => {
    const mail = `Cc: a\nContent-Transfer-Encoding: base64\nMIME-Version: 1.0\n\n${base64}`
    expect(await kindsIn(Buffer.from(mail))).to.include('mail:that begins with no usual header')
    expect(await kindsIn(Buffer.from(`Received: a\n${mail}`))).to.have.members(['mail', 'zip:LZMA'])
  })

  it('nothing of its own in a mail that it forwards', async () => {
    const inner = mailOf('Subject: x', 'Content-Transfer-Encoding: base64', base64)
    const mail = mailOf('From: a@b', 'Content-Type: message/rfc822', inner)
    expect(await kindsIn(mail)).to.have.members(['mail', 'zip:LZMA'])
  })

  it('nothing where there is only text', async () => {
    const body = 'Caf=C3=A9 and more=\n of it\n-- \nme\n'
    const mail = mailOf('From: a@b', 'Content-Transfer-Encoding: quoted-printable', body)
    expect(await kindsIn(mail)).to.deep.equal(['mail'])
  })

  it('nothing of the next mails of a mailbox', async () => {
    const mails = ['7bit', '8bit', 'quoted-printable', 'base64'].map(
      (encoding) =>
        `From a@b x\nTo: b\nContent-Transfer-Encoding: ${encoding}\n\n${'text\n'.repeat(200)}\n`,
    )
    const box = Buffer.from(mails.join('').repeat(50))
    const limits = { ...defaultLimits, unpackedBytes: 3 * box.length }
    const seen = new Seen(new AbortController().signal, limits)
    await look(bytesOf(box), 'a', seen)

    expect(seen.problems).to.deep.equal([])
    expect([...seen.needs.keys()]).to.deep.equal(['mail'])
  })

  describe('that is read in pieces', () => {
    const limits = { heldBytes: 400_000 }
    const small = `From a@b Thu Nov 26 00:00:00 2026\nTo: b\n\n${'text\n'.repeat(1000)}\n`
    const parted = 'From a@b x\nMIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=B\n\n'
    const inPieces = (...pieces: (string | Buffer)[]) =>
      kindsIn(Buffer.concat(pieces.map((piece) => Buffer.from(piece as string))), limits)

    it('an archive whose boundary an earlier piece names', async () => {
      const kinds = await inPieces(
        parted,
        small.repeat(40),
        'From a@b x\nTo: b\n\n--B\nContent-Type: application/zip\n\n',
        zip,
        '\n--B--\n\n',
        small.repeat(40),
      )

      expect(kinds).to.include.members(['zip:LZMA', 'mail:as it is'])
    })

    it('an archive, though a mail seems to begin in front of it in its part', async () => {
      const kinds = await inPieces(
        small.repeat(6),
        `${parted}--B\nContent-Type: application/octet-stream\n\n${text(50_000)}\n\nFrom x\nTo: y\n${text(20_000)}`,
        zip,
        '\n--B--\n\n',
        small.repeat(40),
      )

      expect(kinds).to.include.members(['zip:LZMA', 'mail:as it is'])
    })

    it('an archive in a mail without parts, where another mail seems to begin', async () => {
      const quoted = [...zip].map((byte) => `=${byte.toString(16).padStart(2, '0').toUpperCase()}`)
      const kinds = await inPieces(
        `From a@b x\nMIME-Version: 1.0\nContent-Transfer-Encoding: quoted-printable\n\n${text(60_000)}`,
        `\n\nFrom x\nTo: y\n${text(50_000)}`,
        quoted.join(''),
        `\n${text(80_000)}`,
      )

      expect(kinds).to.include('mail:quoted-printable')
    })

    it('nothing odd in a part, where its usual headers are in an earlier piece', async () => {
      const said = 'Content-Transfer-Encoding: base64\n\n'
      const kinds = await inPieces(`Date: x\n${text(250_000)}\n`, said, base64)

      expect(kinds).to.have.members(['mail', 'zip:LZMA'])
    })

    it('nothing in many mails with text, however it is packed', async () => {
      const mails = ['7bit', '8bit', 'quoted-printable'].map((encoding) =>
        small.replace('To: b\n', `To: b\nContent-Transfer-Encoding: ${encoding}\n`),
      )
      expect(await inPieces(mails.join('').repeat(40))).to.deep.equal(['mail'])
    })
  })
})
