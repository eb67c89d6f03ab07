// What arrives over the network lies outside V8's heap, 16 KB for each small object inside: V8 lets 64 MB of it die before it
// looks. A collection of the young generation frees it in a millisecond.
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

// The function is there only under this flag, and only in a context that begins after it was set.
setFlagsFromString('--expose-gc')
// oxlint-disable-next-line typescript/no-unsafe-type-assertion
const collect = runInNewContext('gc') as NodeJS.GCFunction
// Below a deployed worker's heap limit V8 collects all its generations when some 8 MB are new, these bytes included: with 4 MB at a
// time that was every second time, and half of the CPU of a large object.
const everyBytes = 2 * 2 ** 20
let bytesSince = 0

/** Tells of so many bytes that came, from any download of this process. */
export function arrived(bytes: number): void {
  bytesSince += bytes
  if (bytesSince < everyBytes) return
  bytesSince = 0
  collect({ type: 'minor' })
}
