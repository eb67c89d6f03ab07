// `init object-store`: buckets, versioning, expiry, users and policies, the notification rule, and what the workers must know
// about a bucket. Idempotent; merges with what is there.
import { randomUUID } from 'node:crypto'
import { Agent as HttpAgent } from 'node:http'
import { Agent as HttpsAgent } from 'node:https'
import { text } from 'node:stream/consumers'
import { isDeepStrictEqual } from 'node:util'
import { Client, type ClientOptions } from 'minio'
import type { Config } from '../shared/config-schema.ts'
import { describeError, errorCode, FatalError } from '../shared/errors.ts'
import { canaryContent, canaryPrefix, probeCanary } from '../shared/canary-objects.ts'
import { bucketProbeKey, type BucketProbe } from '../shared/object-store.ts'
import { trustedCas } from '../shared/trust.ts'
import type { InitContext } from './context.ts'
import { readIdentities, storeIdentities, type Identity } from './identities.ts'
import { asWanted, type Report } from './report.ts'
import {
  bucketPolicies,
  iamPolicies,
  mergePolicies,
  roles,
  type PolicyInput,
  type Role,
} from './store-policies.ts'
import { minioAdmin, versitygwAdmin, type Login } from './store-users.ts'
import { createdEvents, ensureEvents, queueArn, targets } from './store-events.ts'
import { initTimeoutMs, waitFor } from './wait.ts'

export interface ObjectStoreInput {
  config: Readonly<Config>
  flavour: 'minio' | 'versitygw'
  root: Identity
  users: Record<Role, Identity>
  /** How long to wait for the store to answer, in milliseconds. */
  waitMs: number
}

const noncurrentDays = 7
const ruleId = 'avscan-noncurrent'
/** The command. @throws FatalError when only a person can mend what stands in the way, ConfigError. */
export async function initObjectStore({
  config,
  env,
  print,
  report,
  out,
}: InitContext): Promise<void> {
  const { root, ...users } = readIdentities(storeIdentities, env, { needPasswords: !print })
  const flavour = env['STORE_FLAVOUR'] || 'minio'
  if (flavour !== 'minio' && flavour !== 'versitygw')
    throw new FatalError(
      `STORE_FLAVOUR is "${flavour}"`,
      'it is minio (also for Silo) or versitygw',
    )
  if (print) return out(printObjectStore({ config, flavour, users }))
  await ensureObjectStore({ config, flavour, root, users, waitMs: initTimeoutMs(env) }, report)
}

async function ensureObjectStore(input: ObjectStoreInput, report: Report): Promise<void> {
  const { config, flavour } = input
  await waitForStore(connect(config, input.root), input, report)
  const client = connect(config, input.root, patience)
  const { buckets, adopt } = config.store
  const unknown = adopt.filter((bucket) => !buckets.includes(bucket))
  if (unknown.length > 0)
    throw new FatalError(
      `ADOPT_BUCKETS names ${unknown.join(', ')}, which is not scanned`,
      `it may name ${buckets.join(', ')} (MINIO_BUCKET_NAME)`,
    )
  await ensureBucket(client, config.records.bucket, config, report)
  for (const bucket of buckets) {
    const isOurs = await ensureOwnBucket(client, bucket, config, report)
    if (isOurs || adopt.includes(bucket)) {
      await ensureVersioning(client, bucket, report)
      await ensureExpiry(client, bucket, report)
    } else await advise(client, bucket, report)
  }
  await ensureUsers(client, input, report)
  for (const bucket of buckets) {
    if (flavour === 'minio') await ensureEvents(client, bucket, config, report)
    await recordProbe(client, bucket, config, report)
  }
  if (flavour === 'versitygw')
    report.warn('VersityGW sends the events of every bucket to the broker: it has no rules to set')
}

/** What an administrator who gives no root has to run: policies as documents, users and rules as commands. No secrets. */
export function printObjectStore({
  config,
  flavour,
  users,
}: Pick<ObjectStoreInput, 'config' | 'flavour' | 'users'>): string {
  const input = policyInput(config)
  const lines = [...config.store.buckets, config.records.bucket].map(
    (bucket) => `mc mb --ignore-existing store/${bucket}`,
  )
  for (const bucket of config.store.buckets) {
    lines.push(`mc version enable store/${bucket}`)
    lines.push(`mc ilm rule add --noncurrent-expire-days ${noncurrentDays} store/${bucket}`)
  }
  if (flavour === 'versitygw') {
    for (const role of roles)
      lines.push(
        `versitygw admin create-user --access ${users[role].name} --secret '…' --role user`,
      )
    const byBucket = bucketPolicies(input, namesOf(users))
    for (const [bucket, policy] of Object.entries(byBucket))
      lines.push(`# bucket policy of ${bucket}`, JSON.stringify(policy, undefined, 2))
    return `${lines.join('\n')}\n`
  }
  for (const [role, policy] of Object.entries(iamPolicies(input)) as [Role, unknown][]) {
    lines.push(`# ${policyName(role)}.json`, JSON.stringify(policy, undefined, 2))
    lines.push(`mc admin policy create store ${policyName(role)} ${policyName(role)}.json`)
    lines.push(`mc admin user add store ${users[role].name}`)
    lines.push(`mc admin policy attach store ${policyName(role)} --user ${users[role].name}`)
  }
  lines.push(
    `# PutBucketNotification for each bucket, a rule for each target, merged with those that are there:`,
    ...targets.map((target) => queueArn(config.store.region, target)),
    ...createdEvents,
  )
  return `${lines.join('\n')}\n`
}

/**
 * A store that answers its health check may still say 503 for half a minute: MinIO does while it sends the events of an outage that
 * it has kept.
 */
const patience = { maximumRetryCount: 12, baseDelayMs: 200, maximumDelayMs: 5000 }

function connect(
  config: Config,
  { name, password }: Identity,
  retryOptions: ClientOptions['retryOptions'] = { disableRetry: true },
): Client {
  const url = new URL(config.store.url)
  const secure = url.protocol === 'https:'
  const ca = secure ? trustedCas(config.tls.ca) : undefined
  return new Client({
    endPoint: url.hostname.replace(/^\[|\]$/g, ''),
    port: url.port === '' ? (secure ? 443 : 80) : Number(url.port),
    useSSL: secure,
    region: config.store.region,
    accessKey: name,
    secretKey: password,
    pathStyle: true,
    transportAgent: secure ? new HttpsAgent(ca === undefined ? {} : { ca }) : new HttpAgent(),
    retryOptions,
  })
}

async function waitForStore(
  client: Client,
  { config, root, waitMs }: ObjectStoreInput,
  report: Report,
): Promise<void> {
  const what = `store ${config.store.url}`
  const attempt = async () => {
    try {
      await client.listBuckets()
    } catch (error) {
      const code = errorCode(error) ?? ''
      if (!['InvalidAccessKeyId', 'SignatureDoesNotMatch', 'AccessDenied'].includes(code))
        throw error
      throw new FatalError(
        `${what} refuses the root user "${root.name}": ${code}`,
        'MINIO_ROOT_USER and MINIO_ROOT_PASSWORD must be those that the store was started with',
        { cause: error },
      )
    }
  }
  await waitFor(attempt, {
    what,
    timeoutMs: waitMs,
    waiting: (reason) => report.warn(`waiting for ${what}: ${reason}`),
  })
}

async function ensureBucket(
  client: Client,
  bucket: string,
  { store }: Config,
  report: Report,
): Promise<void> {
  const there = await client.bucketExists(bucket)
  if (!there) await client.makeBucket(bucket, store.region)
  report.say(`bucket ${bucket}`, there ? asWanted : 'created')
}

/** Whether we have made it: how somebody else's bucket keeps its versions is not ours to change. */
async function ensureOwnBucket(
  client: Client,
  bucket: string,
  config: Config,
  report: Report,
): Promise<boolean> {
  const key = `made/${bucket}`
  // Before the bucket: killed in between, the next run must know that it may go on.
  if (!(await client.bucketExists(bucket)))
    await client.putObject(config.records.bucket, key, Buffer.from(new Date().toISOString()))
  await ensureBucket(client, bucket, config, report)
  return (await readRecord(client, config, key)) !== ''
}

/** Of a bucket that was there before: what we would do, and how to have it done. */
async function advise(client: Client, bucket: string, report: Report): Promise<void> {
  const how = `ADOPT_BUCKETS=${bucket} has it done`
  if (!(await isVersioned(client, bucket)))
    return report.warn(
      `${bucket} was there before us and is not versioned; it stays so. With versions exactly the object that was judged is deleted: ${how}`,
    )
  const rules = await existingRules(client, bucket).catch(ignoreMissingCall)
  if (rules !== undefined && !rules.some((rule) => 'NoncurrentVersionExpiration' in rule))
    report.warn(
      `old versions in ${bucket}, which was there before us, never expire; it stays so. A rule for ${noncurrentDays} days: ${how}`,
    )
}

/** The text of an object of the records bucket, '' when there is none. */
async function readRecord(client: Client, { records }: Config, key: string): Promise<string> {
  try {
    const object = { bucketName: records.bucket, objectName: key }
    return await text(await client.makeRequestAsync({ method: 'GET', ...object }, '', [200]))
  } catch (error) {
    if (errorCode(error) === 'NoSuchKey') return ''
    throw error
  }
}

async function ensureVersioning(client: Client, bucket: string, report: Report): Promise<void> {
  const versioned = await isVersioned(client, bucket)
  if (versioned) return report.say(`versioning of ${bucket}`, asWanted)
  try {
    await client.setBucketVersioning(bucket, { Status: 'Enabled' })
    report.say(`versioning of ${bucket}`, 'turned on')
  } catch (error) {
    report.warn(`the store does not version ${bucket}: ${describeError(error)}`)
  }
}

async function isVersioned(client: Client, bucket: string): Promise<boolean> {
  try {
    const versioning = (await client.getBucketVersioning(bucket)) as { Status?: string } | string
    return typeof versioning === 'object' && versioning.Status === 'Enabled'
  } catch (error) {
    if (
      ['NotImplemented', 'MethodNotAllowed', 'VersioningNotConfigured'].includes(
        errorCode(error) ?? '',
      )
    )
      return false
    throw error
  }
}

async function ensureExpiry(client: Client, bucket: string, report: Report): Promise<void> {
  const what = `expiry of noncurrent versions in ${bucket}`
  const rule = {
    ID: ruleId,
    Status: 'Enabled',
    Filter: { Prefix: '' },
    NoncurrentVersionExpiration: { NoncurrentDays: noncurrentDays },
  }
  try {
    const present = await existingRules(client, bucket)
    if (present.some(({ ID }) => ID === ruleId)) return report.say(what, asWanted)
    await client.setBucketLifecycle(bucket, { Rule: [...present, rule] } as never)
    report.say(what, `created (${noncurrentDays} days)`)
  } catch (error) {
    ignoreMissingCall(error)
    // VersityGW: old versions stay until somebody removes them.
    report.warn(`${what}: this store cannot`)
  }
}

/** For `catch`: a call that this store does not have is undefined, everything else rises. */
function ignoreMissingCall(error: unknown): undefined {
  if (!['NotImplemented', 'MethodNotAllowed'].includes(errorCode(error) ?? '')) throw error
  return undefined
}

async function existingRules(client: Client, bucket: string): Promise<{ ID?: string }[]> {
  try {
    const { Rule = [] } = ((await client.getBucketLifecycle(bucket)) ?? {}) as unknown as {
      Rule?: { ID?: string } | { ID?: string }[]
    }
    return Array.isArray(Rule) ? Rule : [Rule]
  } catch (error) {
    if (errorCode(error) === 'NoSuchLifecycleConfiguration') return []
    throw error
  }
}

async function ensureUsers(client: Client, input: ObjectStoreInput, report: Report): Promise<void> {
  const { config, users, root } = input
  const login: Login = async (credentials) => {
    try {
      await connect(config, credentials, patience).listBuckets()
      return 'good'
    } catch (error) {
      const code = errorCode(error)
      if (code === 'InvalidAccessKeyId') return 'unknown user'
      if (code === 'SignatureDoesNotMatch') return 'wrong password'
      if (code === 'AccessDenied') return 'good'
      throw error
    }
  }
  const options = {
    url: config.store.url,
    region: config.store.region,
    root,
    caFile: config.tls.ca,
  }
  const policies = policyInput(config)
  if (input.flavour === 'minio') {
    const admin = minioAdmin(options, login)
    try {
      for (const role of roles)
        report.say(`user ${users[role].name}`, await admin.ensureUser(users[role]))
      for (const [role, policy] of Object.entries(iamPolicies(policies)) as [
        Role,
        ReturnType<typeof iamPolicies>[Role],
      ][])
        report.say(
          `policy ${policyName(role)}`,
          await admin.ensurePolicy(policyName(role), policy, users[role].name),
        )
      for (const role of roles) {
        const { name } = users[role]
        const keys = await admin.keysOf(name)
        if (keys.length > 0)
          report.warn(
            `user ${name} has made access keys of its own: ${keys.join(', ')}; nobody needs them here (mc admin accesskey rm)`,
          )
      }
    } finally {
      admin.close()
    }
    return
  }
  const admin = versitygwAdmin(options, login)
  try {
    for (const role of roles)
      report.say(`user ${users[role].name}`, await admin.ensureUser(users[role]))
  } finally {
    admin.close()
  }
  for (const [bucket, policy] of Object.entries(bucketPolicies(policies, namesOf(users)))) {
    const present = await client.getBucketPolicy(bucket).catch((error: unknown) => {
      if (errorCode(error) === 'NoSuchBucketPolicy') return ''
      throw error
    })
    const merged = mergePolicies(present, policy, Object.values(namesOf(users)))
    const same = present !== '' && isDeepStrictEqual(JSON.parse(present), merged)
    if (!same) await client.setBucketPolicy(bucket, JSON.stringify(merged))
    report.say(`policy of ${bucket}`, same ? asWanted : present === '' ? 'created' : 'changed')
  }
}

/** Finds out what deleting on an unversioned bucket means here, and leaves it for the workers. */
async function recordProbe(
  client: Client,
  bucket: string,
  config: Config,
  report: Report,
): Promise<void> {
  const versioned = await isVersioned(client, bucket)
  const probe: BucketProbe = {
    versioned,
    deleteIfMatch: versioned || (await honoursIfMatch(client, bucket)),
  }
  const key = bucketProbeKey(bucket)
  const before = await readRecord(client, config, key)
  const now = JSON.stringify(probe)
  if (before !== now) await client.putObject(config.records.bucket, key, Buffer.from(now))
  report.say(
    `facts about ${bucket} (${versioned ? 'versioned' : `unversioned, If-Match on DELETE ${probe.deleteIfMatch ? 'honoured' : 'ignored'}`})`,
    before === now ? asWanted : 'written',
  )
  if (!versioned && !probe.deleteIfMatch)
    report.warn(
      `${bucket} is unversioned and its store deletes whatever is there: workers refuse to delete on it (ADOPT_BUCKETS=${bucket} turns versioning on; or DELETE_FILE=false, or DELETE_UNVERSIONED=accept-race)`,
    )
}

async function honoursIfMatch(client: Client, bucket: string): Promise<boolean> {
  const key = probeCanary(randomUUID())
  await client.putObject(bucket, key, canaryContent(key))
  try {
    const headers = { 'if-match': '"00000000000000000000000000000000"' }
    const answer = await client.makeRequestAsync(
      { method: 'DELETE', bucketName: bucket, objectName: key, headers },
      '',
      [204, 412],
    )
    answer.resume()
    return answer.statusCode === 412
  } finally {
    await client.removeObject(bucket, key)
  }
}

function policyInput(config: Config): PolicyInput {
  return {
    buckets: config.store.buckets,
    recordsBucket: config.records.bucket,
    tagKey: config.tags.key,
    canaryPrefix,
  }
}

function namesOf(users: Record<Role, Identity>): Record<Role, string> {
  return {
    uploader: users.uploader.name,
    avscan: users.avscan.name,
    reconciler: users.reconciler.name,
    canary: users.canary.name,
  }
}

// Names that deployments already have.
function policyName(role: Role): string {
  return role === 'avscan' ? 'avscan-worker' : `avscan-${role}`
}
