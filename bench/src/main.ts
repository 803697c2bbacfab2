/**
 * `npm run bench [-- NAME… --json --check]`: the table of README.md, measured on this machine.
 *
 *     NAME      alloc, lookup, reads, streams, replacement, reclaim, swap, nbd, nfs, md, files, fuse, demo; default all
 *               cache is lookup, reads, streams and replacement
 *     --json    one object: { date, machine, node, rows }
 *     --check   exit code 1 if a target is missed; without it a miss is only shown
 */
import os from 'node:os';
import { cachedReads } from './cached-reads.js';
import { demoMemory } from './demo-memory.js';
import { files } from './files.js';
import { fuseMount } from './fuse-mount.js';
import { type Bench, formatTable, passes, type Row, type Table, tableHead, tableRow } from './harness.js';
import { nbdServer } from './nbd-server.js';
import { nfsServer } from './nfs-server.js';
import { pageAllocator } from './page-allocator.js';
import { pageCache } from './page-cache.js';
import { raid1 } from './raid1.js';
import { reclaim } from './reclaim.js';
import { replacement } from './replacement.js';
import { streams } from './streams.js';
import { swapOut } from './swap-out.js';

const BENCHES: readonly Bench[] = [
  pageAllocator,
  pageCache,
  cachedReads,
  streams,
  replacement,
  reclaim,
  swapOut,
  nbdServer,
  nfsServer,
  raid1,
  files,
  fuseMount,
  demoMemory,
];
/** Names of several. */
const GROUPS: Record<string, readonly Bench[]> = { cache: [pageCache, cachedReads, streams, replacement] };

const words = process.argv.slice(2);
const isJson = words.includes('--json');
const names = words.filter((word) => !word.startsWith('--')).flatMap((word) => GROUPS[word]?.map(({ name }) => name) ?? [word]);
const unknown = words.find((word) =>
  word.startsWith('--') ? !['--json', '--check'].includes(word) : GROUPS[word] === undefined && !BENCHES.some(({ name }) => name === word),
);
if (unknown !== undefined) {
  process.stderr.write(
    `bench: ${JSON.stringify(unknown)} is neither --json nor --check nor one of ${[...Object.keys(GROUPS), ...BENCHES.map(({ name }) => name)].join(', ')}\n`,
  );
  process.exit(2);
}
if (globalThis.gc === undefined) process.stderr.write('bench: without node --expose-gc, garbage of one round is paid for by the next\n');

const cpus = os.cpus();
const machine = `${cpus.length} × ${cpus[0]?.model.trim() ?? 'unknown'}, ${Math.round(os.totalmem() / 2 ** 30)} GiB, ${os.type()} ${os.release()}`;
const date = new Date().toISOString().slice(0, 10);
if (!isJson) process.stdout.write(`${date}, Node ${process.version}, ${machine}\n\n${tableHead()}\n`);

const rows: Row[] = [];
const tables: Table[] = [];
for (const bench of BENCHES) {
  if (names.length > 0 && !names.includes(bench.name)) continue;
  for await (const row of bench.run()) {
    rows.push(row);
    if (!isJson) process.stdout.write(`${tableRow(row)}\n`);
  }
  tables.push(...(bench.tables ?? []));
}
if (!isJson) for (const table of tables) process.stdout.write(`\n${formatTable(table)}\n`);
if (isJson) {
  const judged = rows.map((row) => ({ ...row, passes: passes(row) }));
  process.stdout.write(`${JSON.stringify({ date, machine, node: process.version, rows: judged, tables }, null, 2)}\n`);
}
if (words.includes('--check') && rows.some((row) => passes(row) === false)) process.exitCode = 1;
