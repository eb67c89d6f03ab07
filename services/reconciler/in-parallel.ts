// Work on many things, so many at a time.

/** Resolves with the results in order, or rejects with the first error once no call is running any more. */
export async function inParallel<T, R>(
  items: readonly T[],
  atATime: number,
  work: (item: T) => Promise<R>,
): Promise<R[]> {
  const results: R[] = []
  let next = 0
  let failed = false
  const runner = async () => {
    for (let index = next++; index < items.length && !failed; index = next++) {
      try {
        results[index] = await work(items[index] as T)
      } catch (error) {
        failed = true
        throw error
      }
    }
  }
  const runners = await Promise.allSettled(
    Array.from({ length: Math.min(atATime, items.length) }, runner),
  )
  const rejected = runners.find(({ status }) => status === 'rejected')
  if (rejected?.status === 'rejected') throw rejected.reason
  return results
}
