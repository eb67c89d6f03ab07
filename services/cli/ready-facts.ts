// What one of our processes answers on /readyz, read leniently: it may be of another version than this command.

export interface ReadyFacts {
  version?: string
  /** Why it is not ready. */
  reasons: string[]
  /** Everything it says. */
  facts: Readonly<Record<string, unknown>>
}

/** Undefined when the text is no such answer. */
export function parseReady(text: string): ReadyFacts | undefined {
  try {
    const said: unknown = JSON.parse(text)
    if (!isRecord(said)) return undefined
    const { version, reasons } = said
    return {
      ...(typeof version === 'string' ? { version } : {}),
      reasons: Array.isArray(reasons) ? reasons.map(String) : [],
      facts: said,
    }
  } catch {
    return undefined
  }
}

export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
