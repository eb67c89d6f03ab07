// What a ClamAV with nothing but the EICAR signature says about bytes: the fakes' engine. It knows plain files and
// simple zips, which is what the contract suite needs.
import { inflateRawSync } from 'node:zlib'
import { eicar } from '../../services/shared/test-signatures.ts'

export interface FakeLimits {
  maxScanBytes: number
}

/** A ClamAV signature name, or undefined for clean. */
export function judge(bytes: Buffer, limits: FakeLimits): string | undefined {
  if (bytes.includes(eicar())) return 'Eicar-Test-Signature.UNOFFICIAL'
  let unpacked = bytes.length
  for (let at = bytes.indexOf('PK\x03\x04'); at >= 0; at = bytes.indexOf('PK\x03\x04', at + 4)) {
    if (at + 30 > bytes.length) break
    const start = at + 30 + bytes.readUInt16LE(at + 26) + bytes.readUInt16LE(at + 28)
    const packedBytes = bytes.readUInt32LE(at + 18)
    if ((bytes.readUInt16LE(at + 6) & 1) === 1) return 'Heuristics.Encrypted.Zip'
    unpacked += bytes.readUInt32LE(at + 22)
    if (unpacked > limits.maxScanBytes) return 'Heuristics.Limits.Exceeded.MaxScanSize'
    const content = inflate(bytes.readUInt16LE(at + 8), bytes.subarray(start, start + packedBytes))
    const inner = content === undefined ? undefined : judge(content, limits)
    if (inner !== undefined) return inner
  }
  return unpacked > limits.maxScanBytes ? 'Heuristics.Limits.Exceeded.MaxScanSize' : undefined
}

/** Undefined for a method that it does not know and for what is damaged: workers ask their engine about such zips too. */
function inflate(method: number, packed: Buffer): Buffer | undefined {
  if (method === 0) return packed
  if (method !== 8) return undefined
  try {
    return inflateRawSync(packed)
  } catch {
    return undefined
  }
}
