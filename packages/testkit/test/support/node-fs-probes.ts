/**
 * Probes of `node:fs`, for the page that says what `kernel.fs` supports: each is one way to make one call. It is run in every form that Node
 * has of the call, on the host and on ours, in a folder that holds
 *
 *     f (`hello world`), empty, dir/a, dir/sub/b, link → f, dangling → nowhere
 */
import { constants } from 'node:fs';
import type { NodeFs } from '@tidemark/core/host';

/** Makes a call in the form under test. Descriptors are numbers in all forms but `handle`, where the handle stands for them. */
export type Call = (name: string, ...args: unknown[]) => Promise<unknown>;

export interface Probe {
  readonly call: string;
  /** What of it is tried: an option, a kind of argument, a failure. Empty: the call at its simplest. */
  readonly what: string;
  /** The answer, and what the tree is like after, are compared. */
  run(call: Call, at: string, fs: NodeFs): unknown;
}

const probe = (call: string, what: string, run: Probe['run']): Probe => ({ call, what, run });

/** Calls with these arguments after the path; `{}` at the end are the options. */
const onPath = (name: string, what: string, end: string, ...args: unknown[]): Probe =>
  probe(name, what, (call, at) => call(name, at + end, ...args));

/** Opens `f`, makes a call on it, closes it. */
const onFile = (name: string, what: string, flags: string | number, work: (call: Call, fd: unknown, at: string) => unknown): Probe =>
  probe(name, what, async (call, at) => {
    const fd = await call('open', `${at}/f`, flags);
    try {
      return await work(call, fd, at);
    } finally {
      await call('close', fd);
    }
  });

const options = (name: string, end: string, cases: Record<string, unknown>, ...before: unknown[]): Probe[] =>
  Object.entries(cases).map(([what, value]) => onPath(name, what, end, ...before, value));

const ENCODINGS = { "encoding: 'utf8'": { encoding: 'utf8' }, "encoding: 'buffer'": { encoding: 'buffer' }, "'hex'": 'hex' };
const ABORTED = AbortSignal.abort();

export const TEXT_FLAGS = 'r rs r+ rs+ w wx w+ wx+ a ax as a+ ax+ as+'.split(' ');
export const BIT_FLAGS =
  'O_RDONLY O_WRONLY O_RDWR O_CREAT O_EXCL O_TRUNC O_APPEND O_SYNC O_DSYNC O_DIRECTORY O_NOFOLLOW O_NONBLOCK O_NOATIME';

/** What a flag of `open` lets one do with a file. */
const flagProbe = (flag: string, value: string | number, end: string): Probe =>
  probe('open', flag, async (call, at) => {
    const told: unknown[] = [];
    const attempt = async (work: () => Promise<unknown>): Promise<void> => {
      told.push(await work().catch((error: NodeJS.ErrnoException) => error.code));
    };
    const fd = await call('open', at + end, value);
    await attempt(() => call('write', fd, Buffer.from('HE'), 0, 2, 0));
    await attempt(() => call('read', fd, Buffer.alloc(20), 0, 20, 0));
    await call('close', fd);
    return told;
  });

export const PROBES: readonly Probe[] = [
  onPath('access', '', '/f'),
  onPath('access', 'mode', '/f', constants.R_OK | constants.W_OK),
  onPath('appendFile', '', '/f', ' and more'),
  ...options('appendFile', '/f', { encoding: 'latin1', mode: { mode: 0o600 }, flag: { flag: 'ax' }, flush: { flush: true } }, 'é'),
  onPath('chmod', '', '/f', 0o640),
  onPath('chmod', 'octal text', '/f', '600'),
  onPath('chown', '', '/f', 1, 2),
  probe('copyFile', '', (call, at) => call('copyFile', `${at}/f`, `${at}/g`)),
  probe('copyFile', 'COPYFILE_EXCL', (call, at) => call('copyFile', `${at}/f`, `${at}/empty`, constants.COPYFILE_EXCL)),
  probe('copyFile', 'COPYFILE_FICLONE', (call, at) => call('copyFile', `${at}/f`, `${at}/g`, constants.COPYFILE_FICLONE)),
  ...Object.entries({
    '': undefined,
    recursive: { recursive: true },
    errorOnExist: { recursive: true, force: false, errorOnExist: true },
    force: { recursive: true, force: false },
    dereference: { recursive: true, dereference: true },
    filter: { recursive: true, filter: (from: string) => !from.endsWith('sub') },
    preserveTimestamps: { recursive: true, preserveTimestamps: true },
    verbatimSymlinks: { recursive: true, verbatimSymlinks: true },
    mode: { recursive: true, mode: constants.COPYFILE_EXCL },
  }).map(([what, value]) => probe('cp', what, (call, at) => call('cp', what === '' ? `${at}/f` : `${at}/dir`, `${at}/copy`, value))),
  probe('exists', '', async (call, at) => [await call('exists', `${at}/f`), await call('exists', `${at}/dangling`)]),
  onFile('fchmod', '', 'r', (call, fd) => call('fchmod', fd, 0o600)),
  onFile('fchown', '', 'r', (call, fd) => call('fchown', fd, 1, 2)),
  onFile('fdatasync', '', 'r+', (call, fd) => call('fdatasync', fd)),
  onFile('fstat', '', 'r', (call, fd) => call('fstat', fd)),
  onFile('fstat', 'bigint', 'r', (call, fd) => call('fstat', fd, { bigint: true })),
  onFile('fsync', '', 'r+', (call, fd) => call('fsync', fd)),
  onFile('ftruncate', '', 'r+', (call, fd) => call('ftruncate', fd, 4)),
  onFile('futimes', '', 'r+', (call, fd) => call('futimes', fd, 1, 2)),
  onPath('lchmod', '', '/link', 0o600),
  onPath('lchown', '', '/link', 1, 2),
  probe('link', '', (call, at) => call('link', `${at}/f`, `${at}/g`)),
  onPath('lstat', '', '/link'),
  ...options('lstat', '/link', { bigint: { bigint: true } }),
  ...options('lstat', '/none', { throwIfNoEntry: { throwIfNoEntry: false } }),
  onPath('lutimes', '', '/link', 1, 2),
  onPath('mkdir', '', '/new'),
  ...options('mkdir', '/new/er', { recursive: { recursive: true } }),
  ...options('mkdir', '/new', { mode: { mode: 0o700 }, 'mode as a number': 0o500 }),
  probe('mkdtemp', '', async (call, at) => String(await call('mkdtemp', `${at}/temp-`)).length - at.length),
  probe('mkdtemp', 'encoding', async (call, at) => Buffer.isBuffer(await call('mkdtemp', `${at}/temp-`, 'buffer'))),
  ...TEXT_FLAGS.flatMap((flag) => [flagProbe(`'${flag}'`, flag, '/f'), flagProbe(`'${flag}'`, flag, '/none')]),
  ...BIT_FLAGS.split(' ').flatMap((flag) => {
    const bits = constants[flag as keyof typeof constants] as number;
    const value = /WR|RDONLY/.test(flag) ? bits : bits | constants.O_RDWR;
    return ['/f', '/none', '/link', '/dir'].map((end) => flagProbe(flag, flag === 'O_DIRECTORY' ? bits : value, end));
  }),
  probe('opendir', '', async (call, at) => {
    const dir = (await call('opendir', `${at}/dir`)) as Awaited<ReturnType<NodeFs['promises']['opendir']>>;
    const names: string[] = [];
    for await (const { name, parentPath } of dir) names.push(`${parentPath}/${name}`);
    return names.sort();
  }),
  ...['recursive', 'bufferSize', 'encoding'].map((what) =>
    probe('opendir', what, async (call, at) => {
      const value = { recursive: true, bufferSize: 1, encoding: 'buffer' }[what];
      const dir = (await call('opendir', `${at}/dir`, { [what]: value })) as Awaited<ReturnType<NodeFs['promises']['opendir']>>;
      const names: string[] = [];
      for await (const { name } of dir) names.push(`${typeof name} ${String(name)}`);
      return names.sort();
    }),
  ),
  onFile('read', '', 'r', (call, fd) => call('read', fd, Buffer.alloc(5), 0, 5, 2)),
  onFile('read', 'options', 'r', (call, fd) => call('read', fd, { buffer: Buffer.alloc(8), offset: 1, length: 4, position: 3 })),
  onFile('read', 'bigint position', 'r', (call, fd) => call('read', fd, Buffer.alloc(5), 0, 5, 6n)),
  onFile('readv', '', 'r', (call, fd) => call('readv', fd, [Buffer.alloc(2), new Uint16Array(2)], 1)),
  onPath('readdir', '', '/dir'),
  ...options('readdir', '/dir', { recursive: { recursive: true }, withFileTypes: { withFileTypes: true }, encoding: 'buffer' }),
  onPath('readFile', '', '/f'),
  ...options('readFile', '/f', { ...ENCODINGS, flag: { flag: 'a+' }, signal: { signal: ABORTED } }),
  probe('readFile', 'URL', (call, at) => call('readFile', new URL(`file://${at}/f`))),
  probe('readFile', 'Buffer as path', (call, at) => call('readFile', Buffer.from(`${at}/f`), 'utf8')),
  onFile('readFile', 'descriptor', 'r', (call, fd) => call('readFile', fd, 'utf8')),
  onPath('readlink', '', '/link'),
  ...options('readlink', '/link', ENCODINGS),
  onPath('realpath', '', '/link'),
  probe('realpath', 'encoding', async (call, at) => Buffer.isBuffer(await call('realpath', `${at}/link`, 'buffer'))),
  probe('rename', '', (call, at) => call('rename', `${at}/dir`, `${at}/moved`)),
  onPath('rm', '', '/f'),
  ...options('rm', '/dir', { recursive: { recursive: true }, 'maxRetries, retryDelay': { recursive: true, maxRetries: 2, retryDelay: 1 } }),
  ...options('rm', '/none', { force: { force: true } }),
  onPath('rmdir', '', '/dir/sub/../../dir'),
  ...options('rmdir', '/dir', { recursive: { recursive: true } }),
  onPath('stat', '', '/link'),
  ...options('stat', '/f', { bigint: { bigint: true } }),
  ...options('stat', '/none', { throwIfNoEntry: { throwIfNoEntry: false } }),
  probe('statfs', '', async (call, at) => Object.keys((await call('statfs', at)) as object)),
  probe('statfs', 'bigint', async (call, at) => typeof ((await call('statfs', at, { bigint: true })) as { bsize: bigint }).bsize),
  probe('symlink', '', (call, at) => call('symlink', 'f', `${at}/new`)),
  probe('symlink', 'type', (call, at) => call('symlink', 'none', `${at}/new`, 'dir')),
  onPath('truncate', '', '/f', 3),
  onPath('unlink', '', '/link'),
  onPath('utimes', '', '/f', 1.5, new Date(3000)),
  onFile('write', '', 'r+', (call, fd) => call('write', fd, Buffer.from('012345'), 1, 3, 2)),
  onFile('write', 'text', 'r+', (call, fd) => call('write', fd, 'é', 1, 'latin1')),
  onFile('write', 'options', 'r+', (call, fd) => call('write', fd, Buffer.from('abc'), { offset: 1, length: 2, position: 4 })),
  onFile('writev', '', 'r+', (call, fd) => call('writev', fd, [Buffer.from('ab'), Buffer.from('cd')], 3)),
  onPath('writeFile', '', '/f', 'text'),
  ...options('writeFile', '/new', { encoding: 'hex', mode: { mode: 0o600 }, flag: { flag: 'wx' }, flush: { flush: true } }, 'abcd'),
  ...options('writeFile', '/f', { signal: { signal: ABORTED } }, 'text'),
  onPath('writeFile', 'views', '/f', new Uint16Array([1, 2])),
  probe('writeFile', 'iterable', (call, at) => call('writeFile', `${at}/f`, ['a', 'b', 'c'])),
];
