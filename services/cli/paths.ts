// Where the command line keeps its files; tests point RUN_DIR and ENV_FILE elsewhere and so never touch a real deployment.
import { createHash } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'

export interface Paths {
  root: string
  /** Everything of the native runtime (default `.run`). */
  runDir: string
  /** Generated secrets (default `docker-compose/.env`; beside RUN_DIR's files when only RUN_DIR is given). */
  envFile: string
  /** The configuration both runtimes read. */
  configFile: string
  /** Tools built once per checkout, shared by all run folders. */
  toolsDir: string
  /** What Node keeps of our modules once it has read them (NODE_COMPILE_CACHE). */
  compileCache: string
  /** Is this the deployment of the checkout, or one of a test? */
  isDefault: boolean
}

export const rootDir = resolve(dirname(new URL(import.meta.url).pathname), '../..')

export function findPaths(
  env: Readonly<Record<string, string | undefined>>,
  root = rootDir,
): Paths {
  const given = env['RUN_DIR']
  const isDefault =
    given === undefined || given === '' || resolve(root, given) === join(root, '.run')
  const runDir = isDefault ? join(root, '.run') : resolve(root, given)
  const envFile = env['ENV_FILE']
    ? resolve(root, env['ENV_FILE'])
    : isDefault
      ? join(root, 'docker-compose/.env')
      : join(runDir, 'env')
  return {
    root,
    runDir,
    envFile,
    configFile: env['AV_CONFIG']
      ? resolve(root, env['AV_CONFIG'])
      : join(root, 'docker-compose/config/av-scan.yaml'),
    toolsDir: join(root, '.run/bin'),
    compileCache: join(root, '.run/compile-cache'),
    isDefault,
  }
}

/** Told to every service, so that another content of the file is another environment, and deploy restarts them; '' without a file. */
export function configHash(file: string): string {
  return existsSync(file) ? createHash('sha256').update(readFileSync(file)).digest('hex') : ''
}
