/**
 * The matrix at its preconditions (M23): composed ends as the design says on every topology, and none and memalloc hang on the localhost
 * chains for the expected reason. `TIDEMARK_NR_SEEDS` in the environment takes the place of the seeds a cell.
 */
import { EVENTS_MAX, type PolicyName, predicted, POLICY_NAMES, runCell, TOPOLOGIES, topologyNamed, VERDICT_LETTERS } from '@tidemark/lab';
import { runOnNode } from '@tidemark/lab/host';
import { describe, expect, it } from 'vitest';

const NR_SEEDS = Number(process.env.TIDEMARK_NR_SEEDS ?? 5);
const MS_A_SEED_MAX = 2_000;

describe('composed', () => {
  for (const topology of TOPOLOGIES) {
    const want = predicted(topology.name, 'composed');
    it(`${topology.name}, ${topology.title}: ${want}`, { timeout: 30_000 + NR_SEEDS * MS_A_SEED_MAX }, async () => {
      const { verdict, counts, eventsPeak, error } = await runCell(topology, 'composed', NR_SEEDS, runOnNode);
      expect(VERDICT_LETTERS[verdict]).toBe(want);
      expect(counts[verdict]).toBe(NR_SEEDS);
      expect(eventsPeak).toBeLessThanOrEqual(EVENTS_MAX);
      if (verdict === 'refused') expect(error).toMatch(/^(EDEADLK|EINVAL): /);
    });
  }
});

/** What the refusals of composed say. */
const REFUSALS: Readonly<Record<string, RegExp>> = {
  T8b: /writeout would wait for itself: nbd-server → ext3:nbd0 journal → ext3:nbd0 data → nbd:0 → nbd client → nbd-server/,
  T11c: /writeout would wait for itself: bitmap of md:0 → ext3:md:0 data → md:0 → bitmap of md:0/,
  T14: /cow:vda transaction declares Infinity frames for tree blocks of a transaction without bound/,
};

describe('a refusal', () => {
  for (const [name, message] of Object.entries(REFUSALS)) {
    it(`of ${name} says why`, async () => {
      expect((await runOnNode(topologyNamed(name), 'composed', 1)).error?.message).toMatch(message);
    });
  }
});

const NFS_PAGE = ['frames: free above min', 'writeback: /mnt/file', 'filesystem: nfs:/file write', 'task: nfs:/file write'];
/** A client's page waits for the server, whose page waits for its filesystem, which has no frame to write it with. */
const servedBy = (ext3: string) => [
  `filesystem: ${ext3} data`,
  `task: ${ext3} data`,
  'frames: any free frame',
  'writeback: /mnt/file',
  'filesystem: nfs:/file write',
  'filesystem: nfs:/file commit',
  'filesystem: nfs:/file rpc',
  'task: nfs:/file rpc',
  'server: nfs-server',
  'server: nfs-server commit',
  `filesystem: ${ext3} journal`,
];
const SWAP_OUT = [
  'writeback: swap-out to nbd:0',
  'swap-area: swap:nbd:0',
  'block-device: nbd:0',
  'transport: nbd client',
  'task: nbd client',
];

/** The cycles, from any node on. */
const CYCLES: readonly (readonly [topology: string, policy: PolicyName, cycle: readonly string[]])[] = [
  ['T6', 'none', NFS_PAGE],
  ['T6', 'memalloc', servedBy('ext3:vda')],
  ['T7', 'none', NFS_PAGE],
  ['T7', 'memalloc', servedBy('ext3:nbd0')],
  ['T8', 'none', ['frames: free above min', ...SWAP_OUT]],
  ['T8', 'memalloc', ['frames: any free frame', 'writeback: /swapfile', 'filesystem: ext3:vda data', 'task: ext3:vda data']],
];

function edgesOf(cycle: readonly string[]): string[] {
  return cycle.map((from, i) => `${from} → ${cycle[(i + 1) % cycle.length]}`);
}

describe('a hang on a localhost chain', () => {
  for (const [name, policy, cycle] of CYCLES) {
    it(`${name} under ${policy} is ${cycle.join(' → ')}`, async () => {
      for (let seed = 1; seed <= 5; seed++) {
        const { verdict, outcome } = await runOnNode(topologyNamed(name), policy, seed);
        expect(verdict).toBe('hangs');
        const found = outcome.reports.flatMap(({ report }) => report.cycles);
        const wanted = edgesOf(cycle).sort();
        expect(found.map(({ edges }) => edges.map((edge) => edge.join(' → ')).sort())).toContainEqual(wanted);
        expect(found.map(({ nodes }) => [...nodes].sort())).toContainEqual([...cycle].sort());
      }
    });
  }
});

describe('a run', () => {
  it('replays bit-equal under its seed, and goes another way under another', async () => {
    for (const [name, policy] of [
      ['T6', 'composed'],
      ['T8', 'memalloc'],
      ['T5', 'composed'],
    ] as const) {
      const hashes: string[] = [];
      for (const seed of [7, 7, 8]) hashes.push((await runOnNode(topologyNamed(name), policy, seed)).outcome.traceHash);
      expect(hashes[1]).toBe(hashes[0]);
      expect(hashes[2]).not.toBe(hashes[0]);
    }
  });

  it('says of each node whether it is a model', async () => {
    const { nodes } = await runOnNode(topologyNamed('T8'), 'composed', 1);
    const kinds = new Map(nodes.map(({ name, kind }) => [name, kind]));
    expect(kinds.get('swap:nbd:0')).toBe('real');
    expect(kinds.get('vda')).toBe('real');
    expect(kinds.get('ext3:vda journal')).toBe('model');
    expect(kinds.get('nbd client')).toBe('model');
  });

  it('of an unknown topology is refused with the known ones', () => {
    expect(() => topologyNamed('T99')).toThrow(/there is no topology "T99"; there are T1, T2/);
    expect(POLICY_NAMES.length).toBe(5);
  });
});

describe('the other cells', () => {
  it('are as the design says where it says something', { timeout: 300_000 }, async () => {
    const wrong: string[] = [];
    for (const topology of TOPOLOGIES) {
      for (const policy of POLICY_NAMES.filter((name) => name !== 'composed')) {
        const { isAsDesigned, verdict } = await runCell(topology, policy, 2, runOnNode);
        if (!isAsDesigned) wrong.push(`${topology.name} ${policy}: ${verdict}, not ${predicted(topology.name, policy)}`);
      }
    }
    expect(wrong).toEqual([]);
  });
});
