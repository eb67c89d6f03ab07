// An engine of our own small interface: finds a marker, or does what the test says.
import type {
  Engine,
  EngineInfo,
  Finding,
  ScanStream,
} from '../../services/avscan/engines/engine.ts'

export interface FakeEngine extends Engine {
  /** What arrived, one buffer per scan that was ended. */
  readonly scanned: Buffer[]
  readonly aborted: Error[]
  /** How many scans ran at a time at most. */
  readonly mostAtATime: number
  judge: (bytes: Buffer) => Finding | Promise<Finding>
  onOpen: () => void | Promise<void>
  onWrite: (chunk: Buffer) => void | Promise<void>
}

export const marker = 'MALWARE-MARKER'

export function fakeEngine(name = 'fake', info: Partial<EngineInfo> = {}): FakeEngine {
  let running = 0
  let most = 0
  const engine: FakeEngine = {
    name,
    addresses: [],
    places: 64,
    outage: undefined,
    scanned: [],
    aborted: [],
    get mostAtATime() {
      return most
    },
    info: { engineVersion: '1.0', signatureVersion: '27800', signatureSet: 'official', ...info },
    judge: (bytes) =>
      bytes.includes(marker)
        ? { status: 'infected', signature: 'Fake.Marker' }
        : { status: 'clean' },
    onOpen: () => {},
    onWrite: () => {},
    async open(size, signal): Promise<ScanStream> {
      await engine.onOpen()
      signal.throwIfAborted()
      running++
      most = Math.max(most, running)
      const chunks: Buffer[] = []
      // As long as the contract lets it, as a real one does.
      let held: Buffer = Buffer.alloc(0)
      const take = (next: Buffer) => {
        chunks.push(Buffer.from(held))
        held = next
      }
      let over = false
      const done = () => {
        if (!over) running--
        over = true
      }
      const { name: by, info: now } = engine
      return {
        by: { name: by, info: now as EngineInfo },
        async write(chunk) {
          await engine.onWrite(chunk)
          take(chunk)
        },
        async end() {
          take(Buffer.alloc(0))
          const bytes = Buffer.concat(chunks)
          if (bytes.length !== size)
            throw new Error(`fake engine got ${bytes.length} of ${size} bytes`)
          try {
            const finding = await engine.judge(bytes)
            engine.scanned.push(bytes)
            return finding
          } finally {
            done()
          }
        },
        abort(error) {
          if (!over) engine.aborted.push(error)
          done()
        },
      }
    },
    probe: async () => engine.info as EngineInfo,
    close: async () => {},
  }
  return engine
}
