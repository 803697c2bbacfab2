/** Recovery against debugfs, which writes the journals, and e2fsck, which replays a copy of each. */
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { viewOf } from '../src/format/bytes.js';
import { Incompat } from '../src/format/features.js';
import { getInode } from '../src/format/inode.js';
import { getJournalSuperblock } from '../src/format/journal.js';
import { getSuperblock, putSuperblock } from '../src/format/superblock.js';
import { type BlockStore, type JournalFile, recover } from '../src/journal/recovery.js';

const BLOCK = 1024;
const NR_BLOCKS = 8192;
const FILE_BLOCKS = 40;
const JOURNAL_START_FIELD = 0x1c;

let folder = '';
let template = '';
let targets: number[] = [];

function run(command: string, args: string[], input = ''): { status: number | null; output: string } {
  const { status, stdout, stderr } = spawnSync(command, args, { input, encoding: 'utf8' });
  return { status, output: `${stdout}${stderr}` };
}

const hasPeers = spawnSync('debugfs', ['-V']).status === 0 && spawnSync('mke2fs', ['-V']).status !== null;

beforeAll(() => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), 'tidemark-journal-'));
  if (!hasPeers) return;
  template = path.join(folder, 'template.img');
  const tree = path.join(folder, 'tree');
  fs.mkdirSync(tree);
  fs.writeFileSync(path.join(tree, 'file'), Buffer.alloc(FILE_BLOCKS * BLOCK, 'x'));
  const made = run('mke2fs', ['-q', '-t', 'ext3', '-b', String(BLOCK), '-d', tree, template, String(NR_BLOCKS)]);
  expect(made.status, made.output).toBe(0);
  targets =
    run('debugfs', ['-R', 'blocks /file', template])
      .output.match(/^\d+(?: \d+)+/m)?.[0]
      .split(' ')
      .map(Number) ?? [];
  targets = targets.filter((_, i) => i !== 12); // an indirect block
  expect(targets.length).toBeGreaterThanOrEqual(FILE_BLOCKS);
});
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));

class Image implements BlockStore {
  readonly blockSize = BLOCK;
  readonly nrBlocks = NR_BLOCKS;
  readonly #bytes: Uint8Array;
  nrFlushes = 0;

  constructor(readonly file: string) {
    this.#bytes = new Uint8Array(fs.readFileSync(file));
  }

  block(n: number): Uint8Array {
    return this.#bytes.subarray(n * BLOCK, (n + 1) * BLOCK);
  }

  async read(block: number, bytes: Uint8Array): Promise<void> {
    bytes.set(this.block(block));
  }

  async write(block: number, bytes: Uint8Array): Promise<void> {
    this.block(block).set(bytes);
  }

  async flush(): Promise<void> {
    this.nrFlushes++;
  }

  /** Recovers, clears the flag, and writes the file. */
  async recover(): Promise<Awaited<ReturnType<typeof recover>>> {
    const superblock = getSuperblock(this.#bytes, 1024);
    const table = viewOf(this.#bytes).getUint32(2 * BLOCK + 8, true) * BLOCK;
    const inode = getInode('inode 8', viewOf(this.#bytes), table + 7 * superblock.inodeSize, superblock.inodeSize);
    const blockOf = async (n: number): Promise<number> => {
      if (n < 12) return inode.block[n];
      const pointer = (block: number, i: number): number => viewOf(this.#bytes).getUint32(block * BLOCK + 4 * i, true);
      const p = BLOCK / 4;
      if (n < 12 + p) return pointer(inode.block[12], n - 12);
      return pointer(pointer(inode.block[13], Math.floor((n - 12 - p) / p)), (n - 12 - p) % p);
    };
    const journal: JournalFile = {
      name: 'image',
      superblock: getJournalSuperblock('image', this.block(inode.block[0]), BLOCK, inode.size / BLOCK),
      blockOf,
    };
    const report = await recover(this, journal);
    const after = getSuperblock(this.#bytes, 1024);
    after.featureIncompat &= ~Incompat.RECOVER;
    putSuperblock(this.#bytes, after, 1024);
    expect(viewOf(this.block(inode.block[0])).getUint32(JOURNAL_START_FIELD, false)).toBe(0);
    fs.writeFileSync(this.file, this.#bytes);
    return report;
  }
}

/** One transaction: blocks by number in the file with the byte they are filled with, blocks revoked, and whether it is committed. */
interface Step {
  readonly writes: readonly [target: number, fill: number][];
  readonly revokes: readonly number[];
  readonly isCommitted: boolean;
}

/** Bytes of a block that begins with the magic of the journal have to be escaped. */
function content(fill: number): Buffer {
  const bytes = Buffer.alloc(BLOCK, fill);
  if (fill % 3 === 0) bytes.writeUInt32BE(0xc03b3998, 0);
  return bytes;
}

function journalOf(file: string, steps: readonly Step[]): void {
  const lines = ['jo'];
  steps.forEach(({ writes, revokes, isCommitted }, i) => {
    const data = path.join(folder, `data-${i}`);
    fs.writeFileSync(data, Buffer.concat(writes.map(([, fill]) => content(fill))));
    if (revokes.length > 0) lines.push(`jw -r ${revokes.map((n) => targets[n]).join(',')}`);
    if (writes.length > 0) lines.push(`jw -b ${writes.map(([n]) => targets[n]).join(',')} ${isCommitted ? '' : '-c '}${data}`);
  });
  const { output } = run('debugfs', ['-w', '-f', '-', file], [...lines, 'jc', 'quit', ''].join('\n'));
  expect(output).not.toMatch(/error|usage/i);
}

const step = fc.record({
  writes: fc.uniqueArray(fc.tuple(fc.nat(FILE_BLOCKS - 1), fc.integer({ min: 1, max: 255 })), {
    selector: ([n]) => n,
    minLength: 1,
    maxLength: 12,
  }),
  revokes: fc.uniqueArray(fc.nat(FILE_BLOCKS - 1), { maxLength: 3 }),
  isCommitted: fc.constant(true),
});

describe.skipIf(!hasPeers)('recovery of journals that debugfs wrote', () => {
  it('brings home what e2fsck brings home, whatever is written and revoked', async () => {
    let nrReplayed = 0;
    let nrRevoked = 0;
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 6 }), fc.boolean(), async (steps, isLastCut) => {
        const theirs = path.join(folder, 'theirs.img');
        const ours = path.join(folder, 'ours.img');
        fs.copyFileSync(template, theirs);
        journalOf(theirs, isLastCut ? [...steps, { ...steps[0], isCommitted: false }] : steps);
        fs.copyFileSync(theirs, ours);
        const report = await new Image(ours).recover();
        nrReplayed += report.nrReplayed;
        nrRevoked += report.nrRevoked;
        run('e2fsck', ['-fy', theirs]);
        const a = new Image(ours);
        const b = new Image(theirs);
        for (const target of targets) expect(Buffer.compare(a.block(target), b.block(target)), `block ${target}`).toBe(0);
        const { status, output } = run('e2fsck', ['-fn', ours]);
        expect(status, output).toBe(0);
      }),
      { numRuns: 25 },
    );
    expect(nrReplayed).toBeGreaterThan(50);
    expect(nrRevoked).toBeGreaterThan(0);
  }, 60_000);

  it('does the same again after a crash in the middle of it', async () => {
    const ours = path.join(folder, 'again.img');
    fs.copyFileSync(template, ours);
    journalOf(ours, [
      {
        writes: [
          [0, 3],
          [1, 4],
        ],
        revokes: [],
        isCommitted: true,
      },
      { writes: [[1, 5]], revokes: [0], isCommitted: true },
    ]);
    const whole = new Image(ours);
    const before = Array.from({ length: NR_BLOCKS }, (_, n) => new Uint8Array(whole.block(n)));
    await whole.recover();
    const half = path.join(folder, 'half.img');
    fs.writeFileSync(half, Buffer.concat(before));
    const torn = new Image(half);
    torn.block(targets[1]).set(whole.block(targets[1])); // one image was home, the log is as it was
    const report = await torn.recover();
    expect(report.nrTransactions).toBeGreaterThan(1);
    for (const target of targets) expect(Buffer.compare(torn.block(target), whole.block(target))).toBe(0);
  });
});
