// Who may do what at the object store (design: least privilege), as policy documents; pure.

export interface PolicyInput {
  buckets: readonly string[]
  recordsBucket: string
  tagKey: string
  canaryPrefix: string
}

export interface Statement {
  Effect: 'Allow' | 'Deny'
  Action: string[]
  Resource: string[]
  Condition?: Record<string, Record<string, string[]>>
}

/** What a role may not do with the store itself; such a statement has no resource. */
export interface AdminStatement {
  Effect: 'Deny'
  Action: string[]
}

export interface Policy {
  Version: '2012-10-17'
  Statement: (Statement | AdminStatement)[]
}

export const roles = ['uploader', 'avscan', 'reconciler', 'canary'] as const
export type Role = (typeof roles)[number]

const s3 = (...actions: string[]) => actions.map((action) => `s3:${action}`)
const arns = (buckets: readonly string[], path = '') =>
  buckets.map((bucket) => `arn:aws:s3:::${bucket}${path}`)

const suffixes = ['', '-proof', '-at', '-reason', '-signature', '-engine']

/**
 * Every MinIO user may do this to himself unless it is denied: make keys that outlive his own, and change his password. It cannot
 * be denied that he asks for keys that end by themselves (AssumeRole); they have his rights and no others.
 */
const ownKeys: AdminStatement = {
  Effect: 'Deny',
  Action: ['CreateServiceAccount', 'UpdateServiceAccount', 'CreateUser'].map(
    (action) => `admin:${action}`,
  ),
}

/** One IAM policy per role, for stores with IAM (MinIO, Silo). */
export function iamPolicies(input: PolicyInput): Record<Role, Policy> {
  const { buckets, tagKey } = input
  return {
    uploader: policy(
      ...uploaderStatements(input),
      // Whichever bucket: the size of a policy has a limit.
      deletesByPath,
      {
        Effect: 'Deny',
        Action: s3('PutObject', 'PutObjectTagging', 'PutObjectVersionTagging'),
        Resource: arns(buckets, '/*'),
        // Not the whole story: a POST form's tagging field gets past it on MinIO. The proof is what we rely on.
        Condition: {
          'ForAnyValue:StringEquals': {
            's3:RequestObjectTagKeys': suffixes.map((suffix) => `${tagKey}${suffix}`),
          },
        },
      },
      {
        Effect: 'Deny',
        Action: s3('PutObject'),
        Resource: arns(buckets, '/*'),
        // MinIO writes under the version id that a request brings, also over what is there. An archive's entries get past it.
        Condition: { StringLike: { 's3:versionid': ['?*'] } },
      },
      ownKeys,
    ),
    avscan: policy(...avscanStatements(input), ownKeys),
    reconciler: policy(...reconcilerStatements(input), ownKeys),
    canary: policy(...canaryStatements(input), ownKeys),
  }
}

/**
 * MinIO takes `../other-bucket/key` in the list of keys to delete for a path, after it has allowed it as a key of this bucket.
 * Others than uploaders have their keys from the store, where none can have such a segment.
 */
const deletesByPath: Statement = {
  Effect: 'Deny',
  Action: s3('DeleteObject', 'DeleteObjectVersion'),
  // A * stands for slashes, too.
  Resource: ['../*', './*', '..', '.'].flatMap((path) => arns(['*'], `/${path}`)),
}

function uploaderStatements({ buckets, canaryPrefix }: PolicyInput): Statement[] {
  return [
    // Who could delete canaries would keep a gap open that they would show.
    {
      Effect: 'Deny',
      Action: s3(
        'PutObject',
        'DeleteObject',
        'DeleteObjectVersion',
        'PutObjectTagging',
        'PutObjectVersionTagging',
        'DeleteObjectTagging',
        'DeleteObjectVersionTagging',
      ),
      // The prefix without its slash as well: an object of that name would take the place of the folder.
      Resource: [
        ...arns(buckets, `/${canaryPrefix}*`),
        ...arns(buckets, `/${canaryPrefix.replace(/\/$/, '')}`),
      ],
    },
    {
      Effect: 'Allow',
      Action: s3(
        'GetObject',
        'GetObjectVersion',
        'PutObject',
        'DeleteObject',
        'DeleteObjectVersion',
        'GetObjectTagging',
        'GetObjectVersionTagging',
        'PutObjectTagging',
        'PutObjectVersionTagging',
        'DeleteObjectTagging',
        'DeleteObjectVersionTagging',
        'AbortMultipartUpload',
        'ListMultipartUploadParts',
      ),
      Resource: arns(buckets, '/*'),
    },
    {
      Effect: 'Allow',
      Action: s3(
        'ListBucket',
        'ListBucketVersions',
        'ListBucketMultipartUploads',
        'GetBucketLocation',
      ),
      Resource: arns(buckets),
    },
  ]
}

function avscanStatements({ buckets, recordsBucket }: PolicyInput): Statement[] {
  return [
    {
      Effect: 'Allow',
      Action: s3(
        'GetObject',
        'GetObjectVersion',
        'GetObjectTagging',
        'GetObjectVersionTagging',
        // Without these two the store does not say that nobody can delete it.
        'GetObjectRetention',
        'GetObjectLegalHold',
        'PutObjectTagging',
        'PutObjectVersionTagging',
        'DeleteObject',
        'DeleteObjectVersion',
      ),
      Resource: arns(buckets, '/*'),
    },
    {
      Effect: 'Allow',
      Action: s3('ListBucket', 'ListBucketVersions', 'GetBucketLocation'),
      Resource: arns(buckets),
    },
    ...recordsStatements(recordsBucket),
    // What it says while a scan takes long.
    {
      Effect: 'Allow',
      Action: s3('DeleteObject'),
      Resource: arns([recordsBucket], '/scanning/*'),
    },
  ]
}

function recordsStatements(bucket: string): Statement[] {
  return [
    {
      Effect: 'Allow',
      Action: s3('GetObject', 'PutObject'),
      Resource: arns([bucket], '/*'),
    },
    // Without it a record that is not there is 403 and not 404.
    {
      Effect: 'Allow',
      Action: s3('ListBucket', 'GetBucketLocation'),
      Resource: arns([bucket]),
    },
  ]
}

/** Looks at everything, writes and deletes under the canary's prefix alone. */
function reconcilerStatements({ buckets, recordsBucket, canaryPrefix }: PolicyInput): Statement[] {
  return [
    {
      Effect: 'Allow',
      // It reads no contents, but MinIO answers HEAD with 403 to those who may not GET, as AWS does (VersityGW 1.8 does not).
      Action: s3('GetObject', 'GetObjectVersion', 'GetObjectTagging', 'GetObjectVersionTagging'),
      Resource: arns(buckets, '/*'),
    },
    {
      Effect: 'Allow',
      Action: s3('ListBucket', 'ListBucketVersions', 'GetBucketLocation'),
      Resource: arns(buckets),
    },
    {
      Effect: 'Allow',
      Action: s3('PutObject', 'DeleteObject', 'DeleteObjectVersion'),
      Resource: arns(buckets, `/${canaryPrefix}*`),
    },
    ...recordsStatements(recordsBucket),
    // What it could write there would postpone a scan.
    {
      Effect: 'Deny',
      Action: s3('PutObject'),
      Resource: arns([recordsBucket], '/scanning/*'),
    },
    // Of its canaries, where tags cannot hold their verdicts: one every minute would stay.
    {
      Effect: 'Allow',
      Action: s3('DeleteObject'),
      Resource: arns([recordsBucket], '/verdicts/*'),
    },
  ]
}

function canaryStatements({ buckets, canaryPrefix }: PolicyInput): Statement[] {
  return [
    {
      Effect: 'Allow',
      Action: s3(
        'GetObject',
        'GetObjectVersion',
        'PutObject',
        'DeleteObject',
        'DeleteObjectVersion',
        'GetObjectTagging',
        'GetObjectVersionTagging',
      ),
      Resource: arns(buckets, `/${canaryPrefix}*`),
    },
    {
      Effect: 'Allow',
      Action: s3('ListBucket', 'ListBucketVersions'),
      Resource: arns(buckets),
      Condition: { StringLike: { 's3:prefix': [`${canaryPrefix}*`] } },
    },
  ]
}

export type BucketPolicy = {
  Version: '2012-10-17'
  Statement: (Omit<Statement, 'Condition'> & { Principal: { AWS: string[] } })[]
}

/**
 * One policy per bucket with all users in it, for stores without IAM policies (VersityGW). It knows no conditions on tags or
 * prefixes: the canary's listing is left out, and our tag keys cannot be denied to uploaders. An upload that brings tags needs
 * PutObjectTagging there; the proof makes what they write harmless.
 */
export function bucketPolicies(
  input: PolicyInput,
  users: Record<Role, string>,
): Record<string, BucketPolicy> {
  const byRole: Record<Role, Statement[]> = {
    uploader: uploaderStatements(input),
    avscan: avscanStatements(input),
    reconciler: reconcilerStatements(input),
    canary: canaryStatements(input),
  }
  const ofBucket = (bucket: string): BucketPolicy => ({
    Version: '2012-10-17',
    Statement: roles.flatMap((role) =>
      byRole[role]
        .filter(({ Condition }) => Condition === undefined)
        .map(({ Effect, Action, Resource }) => ({
          Effect,
          Principal: { AWS: [users[role]] },
          Action,
          Resource: Resource.filter(
            (arn) => arn === `arn:aws:s3:::${bucket}` || arn.startsWith(`arn:aws:s3:::${bucket}/`),
          ),
        }))
        .filter(({ Resource }) => Resource.length > 0),
    ),
  })
  return Object.fromEntries(
    [...input.buckets, input.recordsBucket].map((bucket) => [bucket, ofBucket(bucket)]),
  )
}

/**
 * `wanted` beside what somebody else has stated: a statement is ours, and replaced, if it is about our users alone.
 * @param present the bucket's policy as JSON, '' for none
 * @throws SyntaxError when it is none
 */
export function mergePolicies(
  present: string,
  wanted: BucketPolicy,
  users: readonly string[],
): BucketPolicy {
  if (present === '') return wanted
  const found = JSON.parse(present) as Partial<BucketPolicy>
  const isOurs = ({ Principal }: { Principal?: unknown }) => {
    const named = (Principal as { AWS?: unknown } | undefined)?.AWS
    const names = [named].flat()
    return names.length > 0 && names.every((name) => users.includes(String(name)))
  }
  const others = (found.Statement ?? []).filter((statement) => !isOurs(statement))
  return { ...found, ...wanted, Statement: [...wanted.Statement, ...others] }
}

function policy(...statements: Policy['Statement']): Policy {
  return { Version: '2012-10-17', Statement: statements }
}
