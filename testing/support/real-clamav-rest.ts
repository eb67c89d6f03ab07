// A real clamav-rest of a test's own in front of a test's clamd, over https with a certificate made for the run.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { eventually } from './eventually.ts'
import { freePort, type RealClamd } from './real-clamd.ts'
import { testCertificate } from './test-certificate.ts'

const program = (process.env['PATH'] ?? '')
  .split(delimiter)
  .map((folder) => join(folder, 'clamav-rest'))
  .find((path) => existsSync(path))

/** Why tests with a real clamav-rest cannot run, or undefined. */
export const noClamavRest = program === undefined ? 'clamav-rest is not on PATH' : undefined

export interface RealClamavRest {
  port: number
  ca: string
  close(): Promise<void>
}

export async function startClamavRest(clamd: RealClamd): Promise<RealClamavRest> {
  if (program === undefined) throw new Error(noClamavRest)
  const folder = await mkdtemp(join(tmpdir(), 'test-clamav-rest-'))
  const { certFile, keyFile } = await testCertificate(folder)
  const port = await freePort()
  // It takes its environment apart at every `=`: a value that holds one is cut, a variable without a value ends it.
  const child = spawn(program, {
    stdio: 'ignore',
    env: {
      CLAMD_PORT: `tcp://${clamd.host}:${clamd.port}`,
      PORT: String(await freePort()),
      SSL_PORT: String(port),
      SSL_CERT: certFile,
      SSL_KEY: keyFile,
      MAX_RECONNECT_TIME: '5',
    },
  })
  const killNow = () => child.kill('SIGKILL')
  process.on('exit', killNow)
  await eventually(async () => {
    if (child.exitCode !== null) throw new Error(`clamav-rest has exited with ${child.exitCode}`)
    const socket = connect(port, '127.0.0.1')
    await once(socket, 'connect')
    socket.destroy()
  })
  return {
    port,
    ca: certFile,
    close: async () => {
      process.off('exit', killNow)
      const gone = once(child, 'exit')
      child.kill('SIGKILL')
      await gone
      await rm(folder, { recursive: true, force: true })
    },
  }
}
