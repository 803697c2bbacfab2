/**
 * The page docs/node-fs.md: which calls of `node:fs` `kernel.fs` has, in which forms, with which options and flags. It is made by making
 * each call on the host and on ours: "supported" means that answers, errors and the tree that is left are the same. The test fails if the
 * page says something else; `npx vitest run packages/testkit/test/node-fs-page.test.ts -u` writes it anew.
 */
import hostFs from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { Kernel } from '@tidemark/core';
import { host, type NodeFs } from '@tidemark/core/host';
import { memfs } from '@tidemark/testkit';
import { describe, expect, test } from 'vitest';
import { type Call, PROBES, type Probe } from './support/node-fs-probes.js';

const PAGE = path.join(path.dirname(fileURLToPath(import.meta.url)), '../../../docs/node-fs.md');
const FORMS = ['promises', 'callback', 'sync', 'handle'] as const;
type Form = (typeof FORMS)[number];
type Function_ = (...args: unknown[]) => unknown;

/** What `FileHandle` calls the calls on descriptors. */
const ON_HANDLES: Record<string, string> = {
  ...{ fchmod: 'chmod', fchown: 'chown', fdatasync: 'datasync', fstat: 'stat', fsync: 'sync', ftruncate: 'truncate', futimes: 'utimes' },
  ...{ read: 'read', readv: 'readv', write: 'write', writev: 'writev', close: 'close', readFile: 'readFile' },
};

/** The function behind a call in a form; null if there is none. */
function functionOf(fs: NodeFs, form: Form, name: string): Function_ | null {
  const forms = fs as unknown as Record<string, unknown>;
  const promises = fs.promises as unknown as Record<string, unknown>;
  const found = form === 'promises' ? promises[name] : form === 'sync' ? forms[`${name}Sync`] : forms[name];
  return typeof found === 'function' ? (found as Function_) : null;
}

/** Makes calls in one form. */
function callerOf(fs: NodeFs, form: Form): Call {
  return async (name, ...args) => {
    if (form === 'handle') {
      if (name === 'open') return (fs.promises.open as Function_)(...args);
      const [handle, ...rest] = args as [Record<string, Function_>, ...unknown[]];
      const answer = (await handle[ON_HANDLES[name]](...rest)) as Record<string, unknown> | undefined;
      return answer?.bytesRead ?? answer?.bytesWritten ?? answer;
    }
    const found = functionOf(fs, form, name);
    if (found === null) throw new Error(`there is no ${name} in the form ${form}`);
    if (form !== 'callback') return found(...args);
    return new Promise((resolve, reject) => {
      found(...args, (...answer: unknown[]) => {
        if (name === 'exists') resolve(answer[0]);
        else if (answer[0]) reject(answer[0]);
        else resolve(answer[1]);
      });
    });
  };
}

/** An answer to compare: without what differs between any two trees. */
function plain(value: unknown): unknown {
  if (ArrayBuffer.isView(value)) return ['bytes', Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString('latin1')];
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value === 'bigint') return `${value}n`;
  if (value === null || typeof value !== 'object') return value;
  if ('mtimeMs' in value) {
    const { mode, nlink, uid, gid, size, isFile } = value as unknown as hostFs.Stats;
    return [mode, nlink, uid, gid, size, isFile.call(value), typeof (value as hostFs.Stats).mtimeMs, 'mtimeNs' in value].map(plain);
  }
  if ('parentPath' in value) return [(value as hostFs.Dirent).name, (value as hostFs.Dirent).isDirectory()].map(plain);
  return value;
}

function treeOf(fs: NodeFs, top: string): string[] {
  return (fs.readdirSync(top, { recursive: true }) as string[]).sort().map((name) => {
    const stat = fs.lstatSync(`${top}/${name}`);
    const shown = name.replace(/temp-.{6}/, 'temp-');
    const times = stat.mtimeMs < 10_000 ? stat.mtimeMs : '';
    const held = stat.isFile()
      ? fs.readFileSync(`${top}/${name}`, 'latin1')
      : stat.isSymbolicLink()
        ? fs.readlinkSync(`${top}/${name}`)
        : '';
    return `${shown} ${stat.mode.toString(8)} ${stat.uid} ${stat.gid} ${times} ${held}`;
  });
}

/** Runs a probe where it has a tree of its own. @returns what it told and left, without the place. */
async function outcome(probe: Probe, form: Form, fs: NodeFs, at: string): Promise<string> {
  fs.mkdirSync(`${at}/dir/sub`, { recursive: true });
  for (const [name, text] of Object.entries({ f: 'hello world', empty: '', 'dir/a': 'A', 'dir/sub/b': 'B' }))
    fs.writeFileSync(`${at}/${name}`, text);
  fs.symlinkSync('f', `${at}/link`);
  fs.symlinkSync('nowhere', `${at}/dangling`);
  let told: unknown;
  try {
    told = plain(await probe.run(callerOf(fs, form), at, fs));
  } catch (error) {
    const { name, code, message } = error as NodeJS.ErrnoException;
    told = [name, code, message];
  }
  const left = treeOf(fs, at);
  fs.rmSync(at, { recursive: true });
  return (JSON.stringify([told, left]) ?? '').replaceAll(at, '<at>');
}

interface Row {
  readonly forms: Map<Form, 'yes' | 'no'>;
  readonly same: Set<string>;
  readonly different: Set<string>;
}

async function measure(ours: NodeFs, folder: string): Promise<Map<string, Row>> {
  const rows = new Map<string, Row>();
  let nr = 0;
  for (const probe of PROBES) {
    const row = rows.get(probe.call) ?? { forms: new Map(), same: new Set(), different: new Set() };
    rows.set(probe.call, row);
    for (const form of FORMS) {
      const onHost = hostFs as unknown as NodeFs;
      const isThere =
        form === 'handle' ? probe.call in ON_HANDLES && probe.what !== 'iterable' : functionOf(onHost, form, probe.call) !== null;
      const isOnDescriptors = form === 'promises' && functionOf(onHost, form, 'fstat') === null && /descriptor/.test(probe.what);
      if (!isThere || isOnDescriptors || (form === 'handle' && probe.call === 'readFile' && probe.what !== 'descriptor')) continue;
      if (form === 'promises' && probe.call === 'open') continue; // its answer is a handle
      const isOurs = form === 'handle' || functionOf(ours, form, probe.call) !== null;
      if (probe.what === '' || !row.forms.has(form)) row.forms.set(form, isOurs ? 'yes' : 'no');
      if (!isOurs) continue;
      const expected = await outcome(probe, form, onHost, path.join(folder, `${nr}`));
      const actual = await outcome(probe, form, ours, `/p${nr++}`);
      const isSame = actual === expected;
      if (probe.what === '' && !isSame) row.forms.set(form, 'no');
      if (probe.what !== '') (isSame ? row.same : row.different).add(probe.what);
    }
  }
  return rows;
}

const HEAD = `# What \`kernel.fs\` has of \`node:fs\`

Made by a test (\`packages/testkit/test/node-fs-page.test.ts\`), which makes each call on the host's files and on memfs: **yes** and
"works" mean that answers, errors with their messages, and the tree that is left are those of Node 20. An empty field: Node has no such form.

| call | promises | callback | sync | FileHandle | works with | differs |
|---|---|---|---|---|---|---|
`;

/** Why something differs; a difference that is not here is a bug. */
const REASONS: Record<string, string> = {
  'read options': '`readSync` takes the form with options too, without a buffer before them',
  "readFile encoding: 'buffer'": 'gives a Buffer; Node knows no such encoding here',
  'readFile signal': 'synchronous forms look at the signal too',
  'writeFile signal': 'synchronous forms look at the signal too',
  'stat throwIfNoEntry': 'works in all forms, as with newer Nodes; Node 20 knows it in the synchronous form only',
  'lstat throwIfNoEntry': 'as `stat`',
  'lchmod ': 'as with Node, which has it on macOS only',
};

function reasonsOf(rows: Map<string, Row>): string[] {
  const differing = [...rows].flatMap(([name, { forms, different }]) => [
    ...([...forms.values()].includes('no') ? [`${name} `] : []),
    ...[...different].map((what) => `${name} ${what}`),
  ]);
  expect(differing.sort(), 'what differs has a reason').toEqual(Object.keys(REASONS).sort());
  return differing.map((what) => `- \`${what.trim()}\`: ${REASONS[what]}.`);
}

const code = (words: Iterable<string>): string => [...words].map((word) => `\`${word}\``).join(', ');

function pageOf(
  rows: Map<string, Row>,
  names: { there: string[]; missing: string[] },
  handle: { there: string[]; missing: string[] },
): string {
  const lines = [...rows].map(([name, { forms, same, different }]) => {
    const works = [...same].filter((what) => !different.has(what));
    const cells = FORMS.map((form) => (form === 'promises' && name === 'open' ? 'yes' : (forms.get(form) ?? '')));
    return `| \`${name}\` | ${cells.join(' | ')} | ${code(works)} | ${code(different)} |`;
  });
  return `${HEAD}${lines.join('\n')}

What differs, and why:

${reasonsOf(rows).join('\n')}

The other names:

- Of \`node:fs\` there are besides ${code(names.there)}.
- Not there are ${code(names.missing)}.
- Of \`FileHandle\` there are ${code(handle.there)}${handle.missing.length > 0 ? `; not ${code(handle.missing)}` : ''}.
- Besides: \`glob\` in all forms, \`mkdtempDisposable\` and \`mkdtempDisposableSync\` as newer Nodes have them, and \`fs.as({ uid, gid, groups, umask })\`: the same tree as somebody else sees it.

Streams are Node's own classes over these calls, with all their options. A relative path begins at the root. Access times do not change
by reading. \`watch\` tells of a directory, of what is below it (\`recursive\`), or of a file, and keeps no process alive; \`watchFile\` looks
every so often, as Node does. Both end with the kernel. Synchronous forms fail with \`EAGAIN\` where they would have to wait for a device
or a network; on memfs they never do. Where Node has \`node:vfs\`, \`mountInNode(kernel.fs)\` lets Node's own \`fs\`, \`import\` and
\`require\` find the tree.
`;
}

/** The names that Node has, by whether ours has them, without those of the table. */
function sorted(theirs: object, ours: object, leaveOut: (name: string) => boolean): { there: string[]; missing: string[] } {
  const names = Object.getOwnPropertyNames(theirs).filter(
    (name) => !leaveOut(name) && typeof (theirs as Record<string, unknown>)[name] === 'function',
  );
  return { there: names.filter((name) => name in ours), missing: names.filter((name) => !(name in ours)) };
}

const isReference = process.version.startsWith('v20.') && process.getuid?.() === 0;

describe.skipIf(!isReference)('on Node 20, for root', () => {
  test('docs/node-fs.md says what is so', { timeout: 120_000 }, async () => {
    const kernel = await Kernel.boot({ memory: '16MiB', plugins: [host, memfs] });
    await kernel.mount('memfs:8MiB', '/');
    const folder = hostFs.mkdtempSync(path.join(tmpdir(), 'tidemark-page-'));
    const umask = process.umask(0o022);
    try {
      const rows = await measure(kernel.fs, folder);
      const isInTable = (name: string): boolean => rows.has(name.replace(/Sync$/, '')) || name === 'constructor';
      const handles = { theirs: await hostFs.promises.open(folder, 'r'), ours: await kernel.fs.promises.open('/', 'r') };
      const handle = sorted(Object.getPrototypeOf(handles.theirs) as object, handles.ours, (name) => /^(constructor|get.*)$/.test(name));
      await Promise.all([handles.theirs.close(), handles.ours.close()]);
      await expect(pageOf(rows, sorted(hostFs, kernel.fs, isInTable), handle)).toMatchFileSnapshot(PAGE);
    } finally {
      process.umask(umask);
      hostFs.rmSync(folder, { recursive: true });
      expect(await kernel.shutdown()).toEqual({ leakedFrames: 0, leakedTimers: 0, problems: [] });
    }
  });
});
