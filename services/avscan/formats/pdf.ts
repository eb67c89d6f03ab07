// PDF: files attached to it.
import type { Seen } from './seen.ts'
import { placesOf, type Source } from './source.ts'

export async function lookIntoPdf(source: Source, seen: Seen, where: string): Promise<void> {
  for await (const at of placesOf(source, Buffer.from('/EmbeddedFile'))) {
    const around = (await source.read(Math.max(0, at - 2048), 4096)).toString('latin1')
    const place = Math.min(at, 2048)
    // `/EmbeddedFiles` is the list of them, and says nothing of how they are packed.
    if (/^[A-Za-z]/.test(around.slice(place + '/EmbeddedFile'.length))) continue
    const begin = around.lastIndexOf(' obj', place)
    const end = around.indexOf('stream', place)
    const dictionary = around.slice(begin < 0 ? 0 : begin, end < 0 ? around.length : end)
    // ClamAV 1.4 loses what follows such a string in an inner dictionary, and with it how the file is packed.
    const [kind, what] = /[^<]<[\dA-Fa-f\s]*>/.test(dictionary)
      ? ['pdf:attachment-checksum', 'PDF with an attached file and its checksum']
      : ['pdf:attachment', 'PDF with an attached file']
    seen.need({ format: 'pdf', kind, what, where })
  }
}
