// The error a promise rejects with, to be looked at; a promise that resolves fails the test.
import { AssertionError } from 'chai'
import { toError } from '../../services/shared/errors.ts'

export async function rejection(promise: Promise<unknown>): Promise<Error> {
  let value: unknown
  try {
    value = await promise
  } catch (error) {
    return toError(error)
  }
  throw new AssertionError(`expected a rejection, got ${JSON.stringify(value)}`)
}
