// Every reply of a real clamd, and of what may sit in its place, that is no finding: most look like one.

export interface Hostility {
  title: string
  /** the moment: at the command, at the first frame, or when the object is complete */
  at: 'command' | 'frame' | 'complete'
  /** what is sent instead of the reply; `id` is the command's */
  reply: (id: number) => string
  after?: 'close' | 'reset'
}

const closing = { after: 'close' } as const

/** Replies that must end in an error, whatever is in them. */
export const hostileReplies: (Hostility & { outcome: 'error' | 'outage' })[] = [
  {
    title: 'an error and OK for the same file, no ids',
    at: 'complete',
    reply: () => 'Error writing to temporary file ERROR\0stream: OK\0',
    outcome: 'outage',
    ...closing,
  },
  {
    title: 'an error and OK for the same file, with ids',
    at: 'complete',
    reply: (id) => `${id}: Error writing to temporary file ERROR\0${id}: stream: OK\0`,
    outcome: 'outage',
    ...closing,
  },
  {
    title: 'temporary folder full while receiving',
    at: 'frame',
    reply: (id) => `${id}: Error writing to temporary file ERROR\0`,
    outcome: 'outage',
    ...closing,
  },
  {
    title: 'temporary folder full while unpacking',
    at: 'complete',
    reply: (id) => `${id}: stream: Can't write to file ERROR\0`,
    outcome: 'error',
  },
  {
    title: 'temporary file cannot be made',
    at: 'complete',
    reply: (id) => `${id}: stream: Can't create temporary file ERROR\0`,
    outcome: 'outage',
  },
  {
    title: 'nothing and a close (temporary folder missing)',
    at: 'command',
    reply: () => '',
    outcome: 'error',
    ...closing,
  },
  {
    title: 'nothing and a close while receiving (killed)',
    at: 'frame',
    reply: () => '',
    outcome: 'error',
    ...closing,
  },
  {
    title: 'nothing and a close after the end (SIGTERM)',
    at: 'complete',
    reply: () => '',
    outcome: 'error',
    ...closing,
  },
  {
    title: 'a reset while receiving',
    at: 'frame',
    reply: () => '',
    outcome: 'error',
    after: 'reset',
  },
  {
    title: 'a reset after the end',
    at: 'complete',
    reply: () => '',
    outcome: 'error',
    after: 'reset',
  },
  {
    title: 'StreamMaxLength exceeded, with id',
    at: 'frame',
    reply: (id) => `${id}: INSTREAM size limit exceeded. ERROR\0`,
    outcome: 'error',
    ...closing,
  },
  {
    title: 'StreamMaxLength exceeded, no id',
    at: 'frame',
    reply: () => 'INSTREAM size limit exceeded. ERROR\0',
    outcome: 'error',
    ...closing,
  },
  {
    title: 'StreamMaxLength exceeded, then a reset',
    at: 'frame',
    reply: () => 'INSTREAM size limit exceeded. ERROR\0',
    outcome: 'error',
    after: 'reset',
  },
  {
    title: 'a read time-out',
    at: 'complete',
    reply: () => 'COMMAND READ TIMED OUT\n',
    outcome: 'error',
    ...closing,
  },
  {
    title: 'a read time-out while receiving',
    at: 'frame',
    reply: () => 'COMMAND READ TIMED OUT\n',
    outcome: 'error',
    ...closing,
  },
  {
    title: 'a read time-out glued before OK',
    at: 'complete',
    reply: (id) => `COMMAND READ TIMED OUT\n${id}: stream: OK\0`,
    outcome: 'error',
    ...closing,
  },
  {
    title: 'a scan error',
    at: 'complete',
    reply: (id) => `${id}: stream: Malformed database ERROR\0`,
    outcome: 'error',
  },
  {
    title: 'an unknown command',
    at: 'command',
    reply: () => 'UNKNOWN COMMAND\0',
    outcome: 'error',
    ...closing,
  },
  {
    title: 'a command that sessions do not have',
    at: 'command',
    reply: (id) => `${id}: Command invalid inside IDSESSION. ERROR\0`,
    outcome: 'error',
    ...closing,
  },
  {
    title: 'an error for the command and OK',
    at: 'complete',
    reply: (id) => `Error processing command. ERROR\0${id}: stream: OK\0`,
    outcome: 'error',
  },
  { title: 'OK without an id', at: 'complete', reply: () => 'stream: OK\0', outcome: 'error' },
  {
    title: 'OK for another id',
    at: 'complete',
    reply: (id) => `${id + 1}: stream: OK\0`,
    outcome: 'error',
  },
  {
    title: 'OK for an id that only looks the same',
    at: 'complete',
    reply: (id) => `0${id}: stream: OK\0`,
    outcome: 'error',
  },
  {
    title: 'OK ended by a newline',
    at: 'complete',
    reply: (id) => `${id}: stream: OK\n`,
    outcome: 'error',
    ...closing,
  },
  {
    title: 'OK without an end',
    at: 'complete',
    reply: (id) => `${id}: stream: OK`,
    outcome: 'error',
    ...closing,
  },
  {
    title: 'OK twice',
    at: 'complete',
    reply: (id) => `${id}: stream: OK\0${id}: stream: OK\0`,
    outcome: 'error',
  },
  {
    title: 'OK and FOUND',
    at: 'complete',
    reply: (id) => `${id}: stream: OK\0${id}: stream: Eicar FOUND\0`,
    outcome: 'error',
  },
  {
    title: 'OK for a path',
    at: 'complete',
    reply: (id) => `${id}: /tmp/file: OK\0`,
    outcome: 'error',
  },
  {
    title: 'OK with something before it',
    at: 'complete',
    reply: (id) => `${id}: stream: x OK\0`,
    outcome: 'error',
  },
  {
    title: 'OK with something after it',
    at: 'complete',
    reply: (id) => `${id}: stream: OK \0`,
    outcome: 'error',
  },
  {
    title: 'ok in lower case',
    at: 'complete',
    reply: (id) => `${id}: stream: ok\0`,
    outcome: 'error',
  },
  {
    title: 'OK before the object was there',
    at: 'frame',
    reply: (id) => `${id}: stream: OK\0`,
    outcome: 'error',
  },
  {
    title: 'OK right at the command',
    at: 'command',
    reply: (id) => `${id}: stream: OK\0`,
    outcome: 'error',
  },
  {
    title: 'OK and a close, so that nobody vouches for the signatures',
    at: 'complete',
    reply: (id) => `${id}: stream: OK\0`,
    outcome: 'error',
    ...closing,
  },
  {
    title: 'FOUND without a name',
    at: 'complete',
    reply: (id) => `${id}: stream:  FOUND\0`,
    outcome: 'error',
  },
  {
    title: 'FOUND for a file descriptor',
    at: 'complete',
    reply: (id) => `${id}: fd[12]: Eicar FOUND\0`,
    outcome: 'error',
  },
  {
    title: 'a line without an end',
    at: 'complete',
    reply: () => 'x'.repeat(70_000),
    outcome: 'error',
  },
  { title: 'PONG to a scan', at: 'complete', reply: (id) => `${id}: PONG\0`, outcome: 'error' },
  {
    title: 'the greeting of something else',
    at: 'command',
    reply: () => 'HTTP/1.1 400 Bad Request\r\n\r\n',
    outcome: 'error',
    ...closing,
  },
  { title: 'nothing, ever', at: 'complete', reply: () => '', outcome: 'error' },
]
