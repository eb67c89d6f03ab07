// Runs `docker compose` for one deployment: its project, files and variables, and what it remembers of them in
// RUN_DIR/docker/deployment.json so that stop, start and status need not be told again.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { shortName } from './layout.ts'
import type { Paths } from './paths.ts'
import { runAttached, runCommand, type Outcome, type RunOptions } from './run-command.ts'
import type { Settings } from './settings.ts'

export interface Deployment {
  files: string[]
  env: Record<string, string>
  /** What the first shell said, for `make start`. */
  settings: Settings
}

export interface ComposeOptions {
  paths: Paths
  project: string
  deployment: Deployment
  /** Names that only the deployment's own variables may set. */
  variables: readonly string[]
}

export function projectName(paths: Paths): string {
  return paths.isDefault ? 'bucket-av-scanner' : `avscan-${shortName(paths.runDir)}`
}

export const deploymentFile = (paths: Paths) => join(paths.runDir, 'docker/deployment.json')
export const caFile = (paths: Paths) => join(paths.runDir, 'docker/ca.pem')

export function readDeployment(paths: Paths): Deployment | undefined {
  try {
    return JSON.parse(readFileSync(deploymentFile(paths), 'utf8')) as Deployment
  } catch {
    return undefined
  }
}

export function writeDeployment(paths: Paths, deployment: Deployment): void {
  const file = deploymentFile(paths)
  mkdirSync(dirname(file), { recursive: true, mode: 0o700 })
  writeFileSync(file, `${JSON.stringify(deployment, undefined, 1)}\n`, { mode: 0o600 })
}

function composeArguments({ paths, project, deployment }: ComposeOptions): string[] {
  const files = deployment.files.flatMap((file) => ['--file', file])
  return [
    'compose',
    '--ansi',
    'never',
    '--project-name',
    project,
    '--env-file',
    paths.envFile,
    ...files,
  ]
}

function composeEnvironment({ deployment, variables }: ComposeOptions): NodeJS.ProcessEnv {
  const env = { ...process.env }
  for (const name of variables) delete env[name]
  return { ...env, ...deployment.env }
}

export function compose(
  options: ComposeOptions,
  args: readonly string[],
  run: Omit<RunOptions, 'env'> = {},
): Promise<Outcome> {
  return runCommand(['docker', ...composeArguments(options), ...args], {
    ...run,
    env: composeEnvironment(options),
  })
}

/** The same with this process's own terminal; resolves with the exit code. */
export function composeAttached(options: ComposeOptions, args: readonly string[]): Promise<number> {
  const command = ['docker', ...composeArguments(options), ...args]
  return runAttached(command, { env: composeEnvironment(options) })
}

/** Hands every line of standard output to `onLine` until the command ends. */
export function composeLines(
  options: ComposeOptions,
  args: readonly string[],
  onLine: (line: string) => void,
): Promise<number> {
  let rest = ''
  return compose(options, args, {
    onOutput: (text) => {
      const lines = (rest + text).split('\n')
      rest = lines.pop() ?? ''
      for (const line of lines) onLine(line)
    },
  }).then(({ code }) => {
    if (rest !== '') onLine(rest)
    return code
  })
}
