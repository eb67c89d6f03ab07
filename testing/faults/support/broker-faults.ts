// The broker of a native deployment as its operator sees it: rabbitmqctl on its own node, alarms, policies.
import { execFile } from 'node:child_process'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'
import { readSpec } from '../../../services/cli/spec.ts'
import type { Undo } from './rewire.ts'

export interface BrokerFaults {
  ctl(...args: string[]): Promise<string>
  /** Runs an Erlang expression in the broker and returns what it prints. */
  evaluate(expression: string): Promise<string>
  memoryAlarm(): Promise<Undo>
  diskAlarm(): Promise<Undo>
  /** Of channels that are opened from now on: how long a delivery may stay unsettled; looked at as often. */
  consumerTimeout(ms: number): Promise<Undo>
  /** Closes every connection in the virtual host; whoever is sound comes back. */
  closeConnections(): Promise<void>
  /** A full queue: an operator's policy limits its length, so that it refuses what comes. */
  limitLength(queue: string, messages: number): Promise<Undo>
}

export function brokerFaults(runDir: string, vhost: string): BrokerFaults {
  const child = readSpec(runDir)?.children.find(({ name }) => name === 'broker')
  if (child === undefined) throw new Error(`${runDir} has no broker`)
  const program = join(dirname(child.command[0] ?? ''), 'rabbitmqctl')
  const { env } = child
  const ctl = async (...args: string[]) => {
    const words = ['--quiet', '--node', env['RABBITMQ_NODENAME'] ?? '', ...args]
    const { stdout } = await promisify(execFile)(program, words, { env, timeout: 60_000 })
    return stdout.trim()
  }
  const evaluate = (expression: string) => ctl('eval', expression)
  const setting = async (name: string, value: string): Promise<Undo> => {
    const before = await evaluate(`application:get_env(rabbit, ${name}, undefined).`)
    await evaluate(`application:set_env(rabbit, ${name}, ${value}).`)
    return async () => {
      await evaluate(
        before === 'undefined'
          ? `application:unset_env(rabbit, ${name}).`
          : `application:set_env(rabbit, ${name}, ${before}).`,
      )
    }
  }
  return {
    ctl,
    evaluate,
    memoryAlarm: async () => {
      await ctl('set_vm_memory_high_watermark', '0.000001')
      return async () => void (await ctl('set_vm_memory_high_watermark', '0.4'))
    },
    diskAlarm: async () => {
      await ctl('set_disk_free_limit', '1000000GB')
      return async () => void (await ctl('set_disk_free_limit', '200MB'))
    },
    consumerTimeout: async (ms) => {
      const undo = [
        await setting('consumer_timeout', String(ms)),
        await setting('channel_tick_interval', String(ms)),
      ]
      return async () => {
        for (const one of undo) await one()
      }
    },
    closeConnections: async () => {
      await ctl('close_all_connections', '--vhost', vhost, 'fault suite')
    },
    limitLength: async (queue, messages) => {
      const name = `fault-${queue}`
      const pattern = `^${queue.replaceAll('.', '\\.')}$`
      const definition = JSON.stringify({ 'max-length': messages })
      const words = ['--vhost', vhost, '--apply-to', 'queues', name, pattern, definition]
      await ctl('set_policy', ...words)
      return async () => void (await ctl('clear_policy', '--vhost', vhost, name))
    },
  }
}
