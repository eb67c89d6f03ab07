// What ClamAV's names mean. Most are detections, but `Heuristics.*` are the engine's own words and say one of three things:
// it could not look, something is odd, or malware was recognised by a rule. The table is from libclamav 1.0 to 1.5.
import { reasons, type Finding } from './engine.ts'

/** A reason code where the engine could not look inside. */
export type Meaning = 'infected' | 'suspicious' | number

/** By family, without `Heuristics.`; the longest family that a name begins with counts. */
export const families: ReadonlyMap<string, Meaning> = new Map<string, Meaning>([
  ['Limits.Exceeded', reasons.otherLimit],
  ['Limits.Exceeded.MaxFileSize', reasons.tooLarge],
  ['Limits.Exceeded.MaxScanSize', reasons.tooLarge],
  ['Limits.Exceeded.MaxFiles', reasons.tooManyFiles],
  ['Limits.Exceeded.EmailMIMEPartsPerMessage', reasons.tooManyFiles],
  ['Limits.Exceeded.MaxRecursion', reasons.tooDeep],
  ['Encrypted', reasons.encryptedArchive],
  ['Encrypted.Doc', reasons.encryptedDocument],
  ['Encrypted.OLE2', reasons.encryptedDocument],
  ['Encrypted.PDF', reasons.encryptedPdf],
  ['XZ.DicSizeLimit', reasons.otherLimit],
  ['Exploit', 'infected'],
  ['Trojan', 'infected'],
  ['W32', 'infected'],
  ['Worm', 'infected'],
  // A checksum over 64 bytes that any binary data may have: ClamAV 1.5 leaves it off and 1.6 has dropped it for its false alarms.
  ['Worm.Mydoom.M.log', 'suspicious'],
  ['APMPartitionIntersection', 'suspicious'],
  ['BoundsCheck', 'suspicious'],
  ['Broken', 'suspicious'],
  ['GPTPartitionIntersection', 'suspicious'],
  // The doubled n is ClamAV's.
  ['MBRPartitionnIntersect', 'suspicious'],
  ['OLE2.ContainsMacros', 'suspicious'],
  ['PDF.ObfuscatedNameObject', 'suspicious'],
  ['PNG', 'suspicious'],
  ['Phishing', 'suspicious'],
  ['Safebrowsing', 'suspicious'],
  ['Structured', 'suspicious'],
  ['Zip.OverlappingFiles', 'suspicious'],
])

/** The end that ClamAV gives to the names of every signature that is not from its own databases. */
const unofficial = '.UNOFFICIAL'

/** What the engine found, by the name it gave. */
export function findingOf(signature: string): Finding {
  // Bytecode signatures of this name are heuristics to libclamav too.
  const heuristic = /^(?:BC\.)?Heuristics\.(.*)$/s.exec(signature)?.[1]
  if (heuristic === undefined) {
    // Unwanted, not malicious: found only where somebody has set DetectPUA.
    return { status: signature.startsWith('PUA.') ? 'suspicious' : 'infected', signature }
  }
  const isUnofficial = heuristic.endsWith(unofficial)
  const meaning = meaningOf(isUnofficial ? heuristic.slice(0, -unofficial.length) : heuristic)
  if (typeof meaning !== 'number') return { status: meaning, signature }
  // A pattern of a database has looked, whatever it is called; only the engine itself can say that it could not.
  if (isUnofficial) return { status: 'suspicious', signature }
  return { status: 'unscannable', reason: meaning, detail: signature }
}

/** A name that nobody here knows deletes nothing and passes nothing. */
function meaningOf(name: string): Meaning {
  for (
    let family = name;
    family !== '';
    family = family.slice(0, Math.max(0, family.lastIndexOf('.')))
  ) {
    const meaning = families.get(family)
    if (meaning !== undefined) return meaning
  }
  return 'suspicious'
}
