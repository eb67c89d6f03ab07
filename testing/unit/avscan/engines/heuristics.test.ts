// Every name that libclamav 1.0 to 1.5 gives by itself, and what it means here.
import { expect } from 'chai'
import { families, findingOf } from '../../../../services/avscan/engines/heuristics.ts'

/** What it means → the names behind `Heuristics.`, from the sources of ClamAV. */
const names: [meaning: string | number, names: string][] = [
  [101, 'Limits.Exceeded.MaxFileSize Limits.Exceeded.MaxScanSize'],
  [102, 'Limits.Exceeded.MaxFiles Limits.Exceeded.EmailMIMEPartsPerMessage'],
  [103, 'Limits.Exceeded.MaxRecursion'],
  [107, 'Encrypted.7Zip Encrypted.EGG Encrypted.RAR Encrypted.Zip'],
  [108, 'Encrypted.OLE2 Encrypted.Doc'],
  [109, 'Encrypted.PDF'],
  [
    199,
    `Limits.Exceeded Limits.Exceeded.MaxScanTime Limits.Exceeded.EmailHeaderBytes Limits.Exceeded.EmailHeaders
    Limits.Exceeded.EmailLineFoldCnt Limits.Exceeded.EmailMIMEArguments XZ.DicSizeLimit`,
  ],
  [
    'infected',
    `Exploit.W32.MS04-028 Exploit.W32.MS05-002 Trojan.Swizzor.Gen W32.Kriz W32.Magistr.A W32.Magistr.A.dam W32.Magistr.B
    W32.Magistr.B.dam W32.Parite.B W32.Polipos.A Worm.Another`,
  ],
  [
    'suspicious',
    `APMPartitionIntersection BoundsCheck Broken.Executable GPTPartitionIntersection MBRPartitionnIntersect
    OLE2.ContainsMacros OLE2.ContainsMacros.VBA OLE2.ContainsMacros.XLM PDF.ObfuscatedNameObject PNG.CVE-2004-0597
    PNG.CVE-2010-1205 Phishing.Email Phishing.Email.Cloaked.Null Phishing.Email.Cloaked.NumericIP
    Phishing.Email.Cloaked.Username Phishing.Email.SSL-Spoof Phishing.Email.SpoofedDomain Phishing.URL.Blacklisted
    Phishing.URL.Blocked Safebrowsing.Suspected-malware_safebrowsing.clamav.net
    Safebrowsing.Suspected-phishing_safebrowsing.clamav.net Structured.CreditCardNumber Structured.SSN
    Worm.Mydoom.M.log Zip.OverlappingFiles
    Broken.Media.GIF.MissingImageData Broken.Media.GIF.TruncatedExtension Broken.Media.GIF.TruncatedExtensionSubBlock
    Broken.Media.GIF.TruncatedGlobalColorTable Broken.Media.GIF.TruncatedImageDataBlock
    Broken.Media.GIF.TruncatedImageDescriptor Broken.Media.GIF.TruncatedScreenDescriptor
    Broken.Media.GIF.UnknownBlockLabel Broken.Media.JPEG.AppMarkerBeforeJPG7 Broken.Media.JPEG.CantReadMarker
    Broken.Media.JPEG.CantReadSegmentSize Broken.Media.JPEG.DTTMissingDTISegment Broken.Media.JPEG.ExifDupAppMarker
    Broken.Media.JPEG.ExifHeaderBadPosition Broken.Media.JPEG.ExifHeaderTooShort Broken.Media.JPEG.InvalidSegmentSize
    Broken.Media.JPEG.JFIFdupAppMarker Broken.Media.JPEG.JFIFheaderTooShort Broken.Media.JPEG.JFIFmarkerBadPosition
    Broken.Media.JPEG.NoImages Broken.Media.JPEG.SPIFFdupAppMarker Broken.Media.JPEG.SPIFFheaderTooShort
    Broken.Media.JPEG.SPIFFmarkerBadPosition Broken.Media.JPEG.SegmentDataOutOfFile
    Broken.Media.JPEG.SpuriousBytesBeforeSegment Broken.Media.PNG.EOFReadingChunk Broken.Media.PNG.EOFReadingChunkCRC
    Broken.Media.PNG.EOFReadingChunkType Broken.Media.PNG.InvalidChunkLength Broken.Media.TIFF.EOFReadingChunkCRC
    Broken.Media.TIFF.EOFReadingFirstIFDOffset Broken.Media.TIFF.EOFReadingIFDEntry
    Broken.Media.TIFF.EOFReadingNumIFDDirectoryEntries Broken.Media.TIFF.InvalidIFDOffset
    Broken.Media.TIFF.OutOfBoundsAccess Broken.Media.TIFF.OutOfOrderIFDOffset`,
  ],
]
const known = names.flatMap(([meaning, list]) =>
  list.split(/\s+/).map((name) => ({ meaning, name: `Heuristics.${name}` })),
)

const meaningIn = (name: string) => {
  const finding = findingOf(name)
  return finding.status === 'unscannable' ? finding.reason : finding.status
}

describe("ClamAV's own names", () => {
  for (const { meaning, name } of known)
    it(`${name} is ${meaning}`, () => {
      expect(meaningIn(name)).to.equal(meaning)
    })

  it('each belong to a family of the table, and no family is without a name', () => {
    const used = new Set(
      known.map(({ name }) =>
        [...families.keys()]
          .filter((family) => `${name}.`.startsWith(`Heuristics.${family}.`))
          .toSorted((a, b) => b.length - a.length)
          .at(0),
      ),
    )

    expect([...used]).to.have.members([...families.keys()])
  })

  it('are whole words: what only begins like a family is none of it', () => {
    expect(meaningIn('Heuristics.Limits.ExceededByFar')).to.equal('suspicious')
    expect(meaningIn('Heuristics.EncryptedLook')).to.equal('suspicious')
    expect(meaningIn('Heuristics.TrojanLike.A')).to.equal('suspicious')
  })

  for (const name of ['Heuristics.Novelty', 'Heuristics.', 'BC.Heuristics.Novelty.A'])
    it(`${name} is unknown, and deletes nothing`, () => {
      expect(findingOf(name)).to.deep.equal({ status: 'suspicious', signature: name })
    })

  for (const [name, meaning] of [
    ['Win.Test.EICAR_HDB-1', 'infected'],
    ['Heuristic.Something', 'infected'],
    ['heuristics.Limits.Exceeded.MaxFiles', 'infected'],
    ['My.Heuristics.Encrypted.Zip', 'infected'],
    ['BC.Heuristics.Trojan.A', 'infected'],
    ['PUA.Win.Packer.Upx-1', 'suspicious'],
    ['PUAlike.Trojan', 'infected'],
  ] as const)
    it(`${name}, from a database, is ${meaning}`, () => {
      expect(meaningIn(name)).to.equal(meaning)
    })

  describe('borrowed by a signature of somebody else, which has looked', () => {
    for (const [name, meaning] of [
      ['Heuristics.Limits.Exceeded.MaxFiles.UNOFFICIAL', 'suspicious'],
      ['Heuristics.Encrypted.Zip.UNOFFICIAL', 'suspicious'],
      ['Heuristics.Phishing.Bank.UNOFFICIAL', 'suspicious'],
      ['Heuristics.Novelty.UNOFFICIAL', 'suspicious'],
      ['Heuristics.Trojan.Dropper.UNOFFICIAL', 'infected'],
      ['Heuristics.Worm.Mydoom.M.log.UNOFFICIAL', 'suspicious'],
      ['Encrypted.Zip.UNOFFICIAL', 'infected'],
    ] as const)
      it(`${name} is ${meaning}`, () => {
        expect(meaningIn(name)).to.equal(meaning)
      })
  })
})
