/** Wrong arguments to `kernel.fs`: Node's own errors, in Node's order of testing. Every call is made on both. */
import * as hostFs from 'node:fs';
import { Kernel } from '@tidemark/core';
import { host, type NodeFs } from '@tidemark/core/host';
import { memfs } from '@tidemark/testkit';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

let kernel: Kernel;
let fs: NodeFs;

beforeAll(async () => {
  kernel = await Kernel.boot({ memory: '8MiB', plugins: [host, memfs] });
  await kernel.mount('memfs:1MiB', '/');
  fs = kernel.fs;
});

afterAll(async () => {
  await kernel.shutdown();
});

/** Nothing is there, on either side. */
const NOWHERE = '/tidemark-nowhere/x';
const NO_PATHS: unknown[] = [undefined, null, 5, {}, [], true, Symbol.iterator, () => {}, 'a\0b', Buffer.from('a\0b'), new Date(0)];
/** Some calls take a descriptor as well, or come to a symbol before they test. */
const NEITHER = NO_PATHS.filter((value) => value !== 5 && typeof value !== 'symbol');
const NO_NUMBERS: unknown[] = [undefined, null, '5x', {}, [], true, 1.5, -1, NaN, Infinity, 2 ** 40, 10n];

/** Calls with one wrong argument each; the rest is fine, and leads nowhere. */
const CALLS: readonly [name: string, args: unknown[], wrong: number, values: unknown[]][] = [
  ...['access', 'stat', 'lstat', 'readdir', 'readFile', 'readlink', 'rm', 'rmdir', 'unlink', 'truncate', 'mkdir', 'opendir', 'open'].map(
    (name): [string, unknown[], number, unknown[]] => [name, [NOWHERE], 0, name === 'readFile' || name === 'truncate' ? NEITHER : NO_PATHS],
  ),
  ['chmod', [NOWHERE, 0o644], 0, NO_PATHS],
  ['chmod', [NOWHERE, 0o644], 1, [...NO_NUMBERS, '9', 'abc', '0o644']],
  ['chown', [NOWHERE, 1, 1], 0, NO_PATHS],
  ['chown', [NOWHERE, 1, 1], 1, NO_NUMBERS.filter((value) => value !== -1)],
  ['lchown', [NOWHERE, 1, 1], 2, NO_NUMBERS.filter((value) => value !== -1)],
  ['utimes', [NOWHERE, 1, 1], 0, NO_PATHS],
  ['utimes', [NOWHERE, 1, 1], 1, [undefined, null, 'x', {}, [], true]],
  ['link', [NOWHERE, NOWHERE], 0, NO_PATHS],
  ['link', [NOWHERE, NOWHERE], 1, NO_PATHS],
  ['symlink', ['x', NOWHERE], 0, NO_PATHS],
  ['symlink', ['x', NOWHERE], 1, NO_PATHS],
  ['rename', [NOWHERE, NOWHERE], 0, NO_PATHS],
  ['rename', [NOWHERE, NOWHERE], 1, NO_PATHS],
  ['copyFile', [NOWHERE, NOWHERE], 0, NO_PATHS],
  ['copyFile', [NOWHERE, NOWHERE], 1, NO_PATHS],
  ['writeFile', [NOWHERE, 'x'], 1, [undefined, null, 5, {}, [], true]],
  ['writeFile', [NOWHERE, 'x'], 0, NEITHER],
  ['appendFile', [NOWHERE, 'x'], 1, [undefined, null, {}, [], true]],
  ['readFile', [NOWHERE, 'utf8'], 1, [5, true, 'utf9', { encoding: 'utf9' }, { flag: 'q' }]],
  ['open', [NOWHERE, 'r'], 1, ['q', 'rw', 1.5, {}, true, 2 ** 40]],
  ['open', [NOWHERE, 'r', 0o644], 2, ['x', 1.5, -1, {}, true]],
  ['mkdir', [NOWHERE, { recursive: false }], 1, [{ recursive: 1 }, { recursive: 'yes' }, { mode: 'x' }, { mode: -1 }, '9x']],
  ['truncate', [NOWHERE, 1], 1, ['x', {}, 1.5, true]],
  ['readdir', [NOWHERE, 'utf8'], 1, [5, true, 'utf9']],
  ['mkdtemp', ['/tidemark-nowhere/'], 0, NO_PATHS.filter((value) => !(value instanceof Uint8Array))],
];

/** Calls that take a descriptor. */
const ON_DESCRIPTORS: readonly [name: string, args: unknown[]][] = [
  ['close', [0]],
  ['fstat', [0]],
  ['fsync', [0]],
  ['fdatasync', [0]],
  ['fchmod', [0, 0o644]],
  ['fchown', [0, 1, 1]],
  ['ftruncate', [0, 1]],
  ['futimes', [0, 1, 1]],
  ['read', [0, Buffer.alloc(4)]],
  ['write', [0, Buffer.alloc(4)]],
  ['readv', [0, [Buffer.alloc(4)]]],
  ['writev', [0, [Buffer.alloc(4)]]],
];
const NO_DESCRIPTORS: unknown[] = [undefined, null, 'x', {}, 1.5, -1, 2 ** 31, 10 ** 9];

type Table = Record<string, (...args: unknown[]) => unknown>;

function failure(call: () => unknown): unknown {
  try {
    return { value: call() };
  } catch (error) {
    const { name, code, message } = error as NodeJS.ErrnoException;
    return { name, code, message };
  }
}

const shown = (value: unknown): string =>
  typeof value === 'bigint' ? `${value}n` : typeof value === 'string' ? JSON.stringify(value) : String(value);

describe.each(CALLS)('%s(%j), argument %i', (name, args, wrong, values) => {
  test.each(values.map((value) => [shown(value), value] as const))('%s', (_shown, value) => {
    const given = args.map((arg, i) => (i === wrong ? value : arg));
    const call = (table: unknown): unknown => failure(() => (table as Table)[`${name}Sync`](...given));
    expect(call(fs)).toEqual(call(hostFs));
  });
});

describe.each(ON_DESCRIPTORS)('%s', (name, args) => {
  test.each(NO_DESCRIPTORS.map((value) => [shown(value), value] as const))('%s', (_shown, value) => {
    const call = (table: unknown): unknown => failure(() => (table as Table)[`${name}Sync`](value, ...args.slice(1)));
    expect(call(fs)).toEqual(call(hostFs));
  });
});

test('a callback is a function', () => {
  for (const name of ['stat', 'readFile', 'mkdir', 'open', 'opendir', 'rename', 'readdir', 'unlink']) {
    const call = (table: unknown): unknown =>
      failure(() => (table as Table)[name](NOWHERE, ...(name === 'rename' ? [NOWHERE] : []), undefined));
    expect(call(fs)).toEqual(call(hostFs));
  }
});
