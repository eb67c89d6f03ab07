// Waiting for a free place, cut short by an abort signal. Who waits first is woken first, and looks for itself.

export class Places {
  #waiting: (() => void)[] = []

  /** Resolves at the next `freed`; rejects with the signal's reason. */
  async wait(signal: AbortSignal): Promise<void> {
    signal.throwIfAborted()
    await new Promise<void>((resolve, reject) => {
      const aborted = () => reject(signal.reason as Error)
      signal.addEventListener('abort', aborted, { once: true })
      this.#waiting.push(() => {
        signal.removeEventListener('abort', aborted)
        resolve()
      })
    })
  }

  freed(): void {
    const waiting = this.#waiting
    this.#waiting = []
    for (const wake of waiting) wake()
  }
}
