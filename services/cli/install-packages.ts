// Installs Debian packages without letting their services start: the deployment runs its own processes.
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir, userInfo } from 'node:os'
import { join } from 'node:path'
import { FatalError } from '../shared/errors.ts'
import { findProgram } from './find-program.ts'
import { lastWords, runCommand, type Outcome } from './run-command.ts'
import { say, step } from './say.ts'

const policyFile = '/usr/sbin/policy-rc.d'
const services = ['rabbitmq-server', 'clamav-daemon', 'clamav-freshclam', 'epmd']

/** Which packages bring the programs that are not there. */
export function missingPackages(has: {
  rabbitmq: boolean
  clamd: boolean
  freshclam: boolean
}): string[] {
  return [
    ...(has.rabbitmq ? [] : ['rabbitmq-server']),
    ...(has.clamd ? [] : ['clamav-daemon']),
    ...(has.freshclam ? [] : ['clamav-freshclam']),
  ]
}

/** As root, or through sudo. @throws FatalError with the command for an administrator when neither works. */
export async function installPackages(packages: readonly string[]): Promise<void> {
  const list = packages.join(' ')
  const byHand = `as root: apt-get update && apt-get install --no-install-recommends ${list}`
  const apt = findProgram('apt-get', process.env['PATH'])
  if (apt === undefined)
    throw new FatalError(
      `${list} must be installed, and this is no Debian or Ubuntu`,
      'use Docker: RUNTIME=docker make deploy',
    )
  const isRoot = userInfo().uid === 0
  const sudo = isRoot ? [] : ['sudo', ...(process.stdin.isTTY ? [] : ['-n'])]
  if (
    !isRoot &&
    (findProgram('sudo', process.env['PATH']) === undefined ||
      (await runCommand([...sudo, 'true'])).code !== 0)
  )
    throw new FatalError(
      `${list} must be installed, and you are neither root nor allowed to use sudo`,
      byHand,
    )
  say(
    `  installing ${list} with apt${isRoot ? '' : ' through sudo'}; their services are not started`,
  )
  const scratch = mkdtempSync(join(tmpdir(), 'avscan-apt-'))
  const hadPolicy = existsSync(policyFile)
  try {
    if (!hadPolicy) {
      writeFileSync(join(scratch, 'policy-rc.d'), '#!/bin/sh\nexit 101\n')
      await must(
        [...sudo, 'install', '-m', '755', join(scratch, 'policy-rc.d'), policyFile],
        byHand,
      )
    }
    const get = [
      ...sudo,
      'env',
      'DEBIAN_FRONTEND=noninteractive',
      apt,
      '-q',
      '-o',
      'DPkg::Lock::Timeout=120',
    ]
    await step(
      'reading the package lists',
      () => must([...get, 'update'], byHand),
      'up to a minute',
    )
    await step(
      `downloading and installing ${list}`,
      () => must([...get, 'install', '-y', '--no-install-recommends', ...packages], byHand),
      'one to three minutes',
    )
    if (
      findProgram('systemctl', process.env['PATH']) !== undefined &&
      existsSync('/run/systemd/system')
    )
      await runCommand([...sudo, 'systemctl', 'disable', '--quiet', ...services])
  } finally {
    if (!hadPolicy) await runCommand([...sudo, 'rm', '-f', policyFile])
    rmSync(scratch, { recursive: true, force: true })
  }
}

async function must(command: readonly string[], byHand: string): Promise<Outcome> {
  const outcome = await runCommand(command)
  if (outcome.code !== 0)
    throw new FatalError(
      `${command.slice(-3).join(' ')} ended with ${outcome.code}:\n    ${lastWords(outcome)}`,
      byHand,
    )
  return outcome
}
