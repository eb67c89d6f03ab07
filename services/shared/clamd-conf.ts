// clamd.conf as this product needs it, for every runtime and for the tests. Each line that closes a hole says so.

export interface ClamdConfOptions {
  /** path of the unix socket */
  socket?: string
  /** only on an address nobody else reaches: clamd has no login, and 1.4 obeys SHUTDOWN from anybody */
  tcp?: { host: string; port: number }
  databaseDirectory: string
  temporaryDirectory: string
  /** without it clamd logs to stdout */
  logFile?: string
  /** the client refuses more than this too; both numbers must be the same */
  maxObjectBytes: number
  /** over it an object is reported as too large a task, never as clean */
  maxScanTimeMs: number
  maxThreads: number
  /** the user clamd becomes when root starts it */
  user?: string
  /** replaces or adds single lines (tests: small limits, short time-outs) */
  overrides?: Record<string, string | number>
}

/** clamd clamps MaxFileSize to this without a word; a MaxScanSize above it would open the hole below. */
const largestScan = 2_147_483_645

/** How much clamd unpacks of one object before it gives up with MaxScanSize: the object itself counts. */
export function maxScanBytes(maxObjectBytes: number): number {
  return Math.min(Math.max(maxObjectBytes * 4, 400 * 1024 ** 2), largestScan)
}

/** Files in one object, for clamd and for us: any folder with `node_modules` in it has more than clamd's own 10,000. */
export const mostMembers = 200_000

/** Of one regular expression from one place of a file. */
const expressionSteps = 100_000

export function clamdConf(options: ClamdConfOptions): string {
  const scan = maxScanBytes(options.maxObjectBytes)
  const lines: Record<string, string | number | undefined> = {
    Foreground: 'yes',
    User: options.user,
    LocalSocket: options.socket,
    LocalSocketMode: options.socket === undefined ? undefined : 660,
    FixStaleSocket: options.socket === undefined ? undefined : 'yes',
    TCPAddr: options.tcp?.host,
    TCPSocket: options.tcp?.port,
    DatabaseDirectory: options.databaseDirectory,
    TemporaryDirectory: options.temporaryDirectory,
    LogFile: options.logFile,
    LogTime: 'yes',
    LogFileMaxSize: options.logFile === undefined ? undefined : '10M',
    LogRotate: options.logFile === undefined ? undefined : 'yes',
    LogClean: 'no',
    MaxThreads: options.maxThreads,
    MaxQueue: Math.max(100, options.maxThreads * 2),
    MaxConnectionQueueLength: 200,
    StreamMaxLength: options.maxObjectBytes,
    // A zip member over MaxFileSize is trimmed and its rest passes unseen, unless MaxScanSize trips first.
    MaxFileSize: scan,
    MaxScanSize: scan,
    MaxScanTime: options.maxScanTimeMs,
    MaxFiles: mostMembers,
    // Above a limit of its own a type is passed without a word, inside an archive too: each must be as large as the limit of all.
    MaxHTMLNormalize: scan,
    MaxHTMLNoTags: scan,
    MaxScriptNormalize: scan,
    MaxEmbeddedPE: scan,
    MaxZipTypeRcg: scan,
    PCREMaxFileSize: scan,
    // As silent, but these bound work, not size. Steps stay as ClamAV has them (more of them are as much more time of a hostile
    // file, and padding gets past any number); depth ends a match no earlier than they do.
    PCREMatchLimit: expressionSteps,
    PCRERecMatchLimit: expressionSteps,
    BytecodeTimeout: 60_000,
    MaxIconsPE: 1000,
    MaxPartitions: 10_000,
    // With `yes` an odd file would end its scan before the virus in it is found.
    HeuristicScanPrecedence: 'no',
    // Without these two, what was too big, too deep or encrypted is reported as clean.
    AlertExceedsMax: 'yes',
    AlertEncrypted: 'yes',
    // Without it every scan stands still while signatures load, and a broken set leaves clamd without an engine.
    ConcurrentDatabaseReload: 'yes',
    // The cache of clean files is keyed by MD5, and a collision walks past it.
    DisableCache: 'yes',
    ReadTimeout: 120,
    CommandReadTimeout: 30,
    SelfCheck: 600,
    ...options.overrides,
  }
  return Object.entries(lines)
    .filter(([, value]) => value !== undefined)
    .map(([name, value]) => `${name} ${value}\n`)
    .join('')
}

/** Keeps clamd's heap instead of returning it after every file: up to a fifth more files per second, no more memory. */
export const clamdEnvironment = {
  MALLOC_TRIM_THRESHOLD_: '1073741824',
  MALLOC_MMAP_THRESHOLD_: '1073741824',
  MALLOC_TOP_PAD_: '16777216',
}
