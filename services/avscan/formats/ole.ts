// OLE compound files: old Office documents, messages, installers, and the shell around an encrypted new Office document.
import { formatReasons, type Seen } from './seen.ts'
import { placesOf, type Source } from './source.ts'

const name = Buffer.from('EncryptedPackage\0', 'utf16le')
const entryBytes = 128

export async function lookIntoOle(source: Source, seen: Seen, where: string): Promise<void> {
  seen.need({ format: 'ole', kind: 'ole', what: 'OLE', where })
  // Entries of the directory lie in rows of 128 bytes, whatever the sectors: no chain has to be followed for them.
  for await (const at of placesOf(source, name, seen.signal, 512)) {
    if (at % entryBytes !== 0) continue
    const entry = await source.read(at, entryBytes)
    // The length of its name in bytes, and its kind: a stream.
    if (entry.length < entryBytes || entry.readUInt16LE(64) !== name.length || entry[66] !== 2)
      continue
    seen.problem({
      reason: formatReasons.encryptedDocument,
      format: 'ole',
      detail: `encrypted Office document${where}`,
    })
    return
  }
}
