// `make env`: the uploader's credentials as shell exports, so that `aws s3 cp` just works.
import type { UploaderAccess } from './runtime.ts'

/** Safe between any characters of a POSIX shell. */
export function quote(value: string): string {
  return /^[\w./:@%+=,-]+$/.test(value) ? value : `'${value.replaceAll("'", `'\\''`)}'`
}

export function renderEnvironment(access: UploaderAccess): string {
  const { endpoint, caFile, region, bucket, uploader } = access
  const variables = {
    AWS_ACCESS_KEY_ID: uploader.user,
    AWS_SECRET_ACCESS_KEY: uploader.password,
    AWS_ENDPOINT_URL: endpoint,
    AWS_CA_BUNDLE: caFile,
    AWS_REGION: region,
    AWS_DEFAULT_REGION: region,
    BUCKET: bucket,
  }
  return Object.entries(variables)
    .map(([name, value]) => `export ${name}=${quote(value)}\n`)
    .join('')
}
