/**
 * The tables of the client in README.md, made by doing what they are about: which procedures a program's calls become, and what each option is by
 * default and may be. The test fails if the page says something else; `npx vitest run packages/fs-nfs/test/readme.test.ts -u` writes it anew.
 */
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { NFS_NUMBER_OPTIONS, NFS_OPTION_NAMES, Nfs3, parseNfsUrl } from '@tidemark/fs-nfs';
import { expect, it } from 'vitest';
import { type Pair, servedAndMounted } from './client-fixture.js';

const PAGE = path.join(path.dirname(fileURLToPath(import.meta.url)), '../README.md');

/** What the options mean; each must be one, and none be missing. */
const MEANINGS: Readonly<Record<string, string>> = {
  nfsport: 'port of the server; by default the portmapper is asked',
  mountport: 'port of its mount daemon; by default `nfsport` if that is given, else the portmapper is asked',
  portmapport: 'port of the portmapper',
  uid: 'who calls',
  gid: 'and of which group',
  groups: 'and further groups, at most 16, with commas',
  timeo: 'tenths of a second without a reply until a call is sent again',
  retrans: 'times it is, before the connection counts as dead',
  soft: 'then the call fails with ETIMEDOUT',
  hard: 'then it waits, and is sent again over the next connection: the default',
  rsize: 'bytes of a READ at most; server and plan may want less',
  wsize: 'bytes of a WRITE, likewise',
  dsize: 'bytes of a READDIR, likewise',
  acregmin: 'seconds for which attributes of a file are believed, at least',
  acregmax: 'and at most, if nothing changes',
  acdirmin: 'those of a directory, at least',
  acdirmax: 'and at most',
  noac: 'attributes are believed for no time at all',
  jukeboxMs: 'milliseconds until a call that was answered JUKEBOX is made again',
  rdirplus: 'READDIRPLUS is used: the default',
  nordirplus: 'it is not',
  version: '3; nothing else is spoken',
};

/** What a program does, one after the other. */
const DONE: readonly (readonly [what: string, work: (fs: Pair['fs']) => Promise<unknown>])[] = [
  ['`mkdir`', (fs) => fs.mkdir('/d')],
  ['`writeFile` of a new file', (fs) => fs.writeFile('/d/f', Buffer.alloc(10_000, 1))],
  ['`stat`, again at once', (fs) => fs.stat('/d/f')],
  ['`readFile` of what is cached', (fs) => fs.readFile('/d/f')],
  ['`truncate`', (fs) => fs.truncate('/d/f', 5_000)],
  ['`chmod`', (fs) => fs.chmod('/d/f', 0o600)],
  ['`link`', (fs) => fs.link('/d/f', '/d/g')],
  ['`symlink`', (fs) => fs.symlink('f', '/d/s')],
  ['`rename`', (fs) => fs.rename('/d/g', '/d/h')],
  ['`readdir`', (fs) => fs.readdir('/d')],
  ['`statfs`', (fs) => fs.statfs('/')],
  ['`unlink`', (fs) => fs.unlink('/d/h')],
  [
    '`unlink` of an open file, and `close`',
    async (fs) => {
      const file = await fs.open('/d/f', 'r+');
      await fs.unlink('/d/f');
      await file.close();
      await fs.writeFile('/d/x', ''); // the removal is done by a task of its own
      await fs.unlink('/d/x');
    },
  ],
  ['`rm` of a tree', (fs) => fs.rm('/d', { recursive: true })],
];

const NAMES = Object.keys(Nfs3);

async function procedures(): Promise<string> {
  const pair = await servedAndMounted();
  const { counts } = pair.volume.parts.calls;
  const rows = [`| mount | portmapper GETPORT (unless told), MNT; ${listOf(counts, new Float64Array(counts.length))} |`];
  for (const [what, work] of DONE) {
    const before = counts.slice();
    await work(pair.fs);
    rows.push(`| ${what} | ${listOf(counts, before)} |`);
  }
  // What is not cached: the same tree, seen by another mount.
  await pair.fs.writeFile('/file', Buffer.alloc(10_000, 1));
  await pair.fs.symlink('file', '/link');
  const other = await servedAndMountedAgain(pair);
  for (const [what, work] of [
    ['`readlink`', (fs: Pair['fs']) => fs.readlink('/link')],
    ['`readFile` of what is not cached', (fs: Pair['fs']) => fs.readFile('/file')],
  ] as const) {
    const before = other.volume.parts.calls.counts.slice();
    await work(other.fs);
    rows.push(`| ${what} | ${listOf(other.volume.parts.calls.counts, before)} |`);
  }
  await other.close();
  await pair.close();
  return ['| a program does | the server is asked |', '|---|---|', ...rows].join('\n');
}

async function servedAndMountedAgain({ server }: Pair): Promise<Omit<Pair, 'server'>> {
  const { mountServed } = await import('./client-fixture.js');
  return mountServed(server.port);
}

function listOf(counts: Float64Array, before: Float64Array): string {
  const calls = [...counts].map((count, procedure) => ({ name: NAMES[procedure], times: count - before[procedure] }));
  const made = calls.filter(({ times }) => times > 0).map(({ name }) => name);
  return made.length === 0 ? 'nothing' : made.join(', ');
}

function options(): string {
  expect(Object.keys(MEANINGS).sort()).toEqual([...NFS_OPTION_NAMES].sort());
  const rows = Object.entries(MEANINGS).map(([name, meaning]) => {
    const limit = NFS_NUMBER_OPTIONS[name];
    if (limit === undefined) return `| \`${name}\` | | | ${meaning} |`;
    for (const value of [limit.least, limit.most]) parseNfsUrl(`nfs://host/e?${name}=${value}`);
    for (const value of [limit.least - 1, limit.most + 1]) expect(() => parseNfsUrl(`nfs://host/e?${name}=${value}`)).toThrow(name);
    const standard = limit.standard === 0 && limit.least > 0 ? '' : limit.standard.toLocaleString('en');
    return `| \`${name}\` | ${standard} | ${limit.least.toLocaleString('en')} … ${limit.most.toLocaleString('en')} | ${meaning} |`;
  });
  return ['| option | default | from … to | |', '|---|---|---|---|', ...rows].join('\n');
}

it('says what the client does', async () => {
  let page = fs.readFileSync(PAGE, 'utf8');
  for (const [name, table] of [
    ['procedures', await procedures()],
    ['options', options()],
  ]) {
    const section = new RegExp(`(<!-- ${name}: made by test/readme.test.ts -->\n)[\\s\\S]*?(<!-- end -->)`);
    expect(page).toMatch(section);
    page = page.replace(section, `$1\n${table}\n\n$2`);
  }
  await expect(page).toMatchFileSnapshot(PAGE);
});
