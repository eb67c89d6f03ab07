// What a deploy ends with: where things are, what judges, and what to try next.
import type { Access } from './runtime.ts'
import type { StatusFacts } from './status.ts'

export function renderSummary(first: string, access: Access, facts: StatusFacts): string {
  const width = Math.max(...access.places.map(({ name }) => name.length))
  const workers = facts.parts.filter(({ name }) => name.startsWith('avscan')).length
  const sets = new Set(
    facts.samples.flatMap(({ name, labels }) =>
      name === 'avscan_signatures_info' ? [labels['signature_set'] ?? ''] : [],
    ),
  )
  const isTest = sets.has('test')
  const on = facts.endpoints.filter(({ url }) => url !== '').map(({ name }) => name)
  return [
    '',
    first,
    ...access.places.map(({ name, where }) => `  ${name.padEnd(width)}  ${where}`),
    `  ${'workers'.padEnd(width)}  ${workers} (SCALE=${workers})`,
    `  ${'signatures'.padEnd(width)}  ${isTest ? 'EICAR-only TEST SET: real malware is NOT found!' : [...sets].join(', ') || 'unknown'}`,
    `  ${'webhooks'.padEnd(width)}  ${on.length === 0 ? 'off' : `on: ${on.join(', ')}`}${on.includes('PUBLISH_URL') ? '' : '; PUBLISH_URL is not set'}`,
    '',
    'Try next:',
    '  make demo                                        five objects, their verdicts as they come',
    '  eval "$(make -s env)" && aws s3 cp README.md "s3://$BUCKET/"',
    '  make status                                      parts, queues, verdicts',
    ...(isTest
      ? [
          '  SIGNATURES=online make deploy                    real signatures (mirror:URL and dir:PATH too)',
        ]
      : []),
  ].join('\n')
}
