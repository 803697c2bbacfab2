/** Checks of the suites. They throw what says what was wanted and what came. */
import { errnoName, isKernelError } from '@tidemark/core';

/** A check that did not hold. */
export class Mismatch extends Error {
  override readonly name = 'Mismatch';
}

/** Text of a value, short enough for a message. */
function show(value: unknown): string {
  const text = JSON.stringify(value, (_key, inner: unknown) => (typeof inner === 'bigint' ? String(inner) : inner)) ?? String(value);
  return text.length > 400 ? `${text.slice(0, 400)}…` : text;
}

/** @throws Mismatch unless `holds`. */
export function must(holds: boolean, what: string): void {
  if (!holds) throw new Mismatch(what);
}

/** @throws Mismatch unless both have the same JSON. */
export function same(actual: unknown, expected: unknown, what: string): void {
  if (show(actual) !== show(expected) || JSON.stringify(actual) !== JSON.stringify(expected))
    throw new Mismatch(`${what}: wanted ${show(expected)}, got ${show(actual)}`);
}

/** @throws Mismatch naming the first byte that differs. */
export function sameBytes(actual: Uint8Array, expected: Uint8Array, what: string): void {
  if (actual.length !== expected.length) throw new Mismatch(`${what}: wanted ${expected.length} bytes, got ${actual.length}`);
  for (let at = 0; at < expected.length; at++)
    if (actual[at] !== expected[at]) throw new Mismatch(`${what}: byte ${at} is ${actual[at]}, wanted ${expected[at]}`);
}

/** Runs what must fail. @returns the code of its error. @throws Mismatch if it succeeds, or fails with none of `codes`. */
export async function fails(work: () => Promise<unknown>, codes: readonly string[], what: string): Promise<string> {
  let value: unknown;
  try {
    value = await work();
  } catch (error) {
    if (!isKernelError(error)) throw error;
    if (!codes.includes(error.code)) throw new Mismatch(`${what}: wanted ${codes.join(' or ')}, got ${error.message}`);
    return error.code;
  }
  throw new Mismatch(`${what}: wanted ${codes.join(' or ')}, and it succeeded with ${show(value)}`);
}

/** The code of what `work` fails with, or `ok`. What is no `KernelError` is thrown on. */
export async function outcomeOf(work: () => Promise<unknown>): Promise<string> {
  try {
    await work();
    return 'ok';
  } catch (error) {
    if (!isKernelError(error)) throw error;
    return error.code;
  }
}

/** Bytes that tell where they belong: a pattern of `seed`, different at every offset nearby. */
export function pattern(length: number, seed: number, offset = 0): Uint8Array {
  const bytes = new Uint8Array(length);
  for (let i = 0; i < length; i++) {
    const at = offset + i;
    bytes[i] = (Math.imul(at + 1, 0x9e3779b1) ^ Math.imul(seed + 1, 0x85ebca6b)) >>> 24 || 1;
  }
  return bytes;
}

export { errnoName };
