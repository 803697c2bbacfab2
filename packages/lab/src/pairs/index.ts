/**
 * Off/on pairs: one mechanism taken away, same scenario and seed twice. Off must hang **for the stated reason**, told as waits of the stall
 * report; on must complete. What can only be taken away from a model with declared state is in `spaces/`; what a change of the source takes
 * away is a mutant.
 */
import { type LabPolicy, labPolicy } from '../policies.js';
import type { RunResult } from '../result.js';
import { lastPages } from '../topologies/last-pages.js';
import { topologyNamed } from '../topologies/index.js';
import type { Topology } from '../topology.js';
import { swapOnPinned } from './lazy-pin.js';
import { slotsOnDemand, swapOnRawDisk } from './slots-on-demand.js';
import { stackedDevices } from './stacked-pools.js';
import { globalThrottle, noEntitlement, noMarks, noTagCheck, unthrottled } from './strategies.js';

/** One side of a pair. */
export interface PairSide {
  readonly topology: Topology;
  readonly policy: LabPolicy;
}

/** Why the off run hangs. */
export interface PairReason {
  /** Edges of the wait-for graph, `from → to`, one behind the other; from the last one's end to the first, if it is a cycle. */
  readonly chain: readonly string[];
  readonly isCycle: boolean;
  /** An account of which nothing is left. */
  readonly emptyAccount?: string;
}

/** One pair. */
export interface Pair {
  /** `M16`. */
  readonly mechanism: string;
  /** What is taken away. */
  readonly without: string;
  readonly off: PairSide;
  readonly on: PairSide;
  readonly reason: PairReason;
}

const composed = labPolicy('composed');
const NBD = 'nbd://server:10809/disk';
const LOST_REPLY = [
  `writeback: swap-out to ${NBD}`,
  `swap-area: swap:${NBD}`,
  `block-device: ${NBD}`,
  'transport: packet transport client',
];
const CLIENT_PAGE = ['writeback: /mnt/file', 'filesystem: nfs:/file write', 'task: nfs:/file write', 'filesystem: nfs:/file rpc'];

export const PAIRS: readonly Pair[] = [
  {
    mechanism: 'M7',
    without: 'metadata that is read before a page becomes dirty',
    off: { topology: lastPages('T10, mapped at writeback', 'ordinary memory'), policy: composed },
    on: { topology: lastPages('T10, mapped when dirtied', undefined), policy: composed },
    reason: {
      chain: ['filesystem: ext3:vd0 data', 'task: ext3:vd0 data', 'frames: free above min', 'writeback: /0/file'],
      isCycle: true,
    },
  },
  {
    mechanism: 'M9',
    without: 'cells of slots that are there from swapon on',
    off: { topology: swapOnRawDisk, policy: slotsOnDemand },
    on: { topology: swapOnRawDisk, policy: composed },
    reason: { chain: ['task: grower', 'frames: any free frame'], isCycle: false },
  },
  {
    mechanism: 'M12',
    without: 'the mark',
    off: { topology: topologyNamed('T5'), policy: noMarks },
    on: { topology: topologyNamed('T5'), policy: composed },
    reason: { chain: LOST_REPLY, isCycle: false },
  },
  {
    mechanism: 'M12',
    without: 'the tag check',
    off: { topology: topologyNamed('T5'), policy: noTagCheck },
    on: { topology: topologyNamed('T5'), policy: composed },
    reason: { chain: LOST_REPLY, isCycle: false, emptyAccount: 'packet transport client' },
  },
  {
    mechanism: 'M14',
    without: 'the map in memory',
    off: { topology: swapOnPinned(true), policy: composed },
    on: { topology: swapOnPinned(false), policy: composed },
    reason: {
      chain: [
        'filesystem: ext3:vda data',
        'task: ext3:vda data',
        'frames: free above min',
        'writeback: swap-out to /swapfile',
        'swap-area: swap:/swapfile',
        'block-device: /swapfile',
      ],
      isCycle: true,
    },
  },
  {
    mechanism: 'M16',
    without: 'the right of the server',
    off: { topology: topologyNamed('T6'), policy: noEntitlement },
    on: { topology: topologyNamed('T6'), policy: unthrottled },
    reason: { chain: [...CLIENT_PAGE, 'server: nfs-server', 'task: nfs-server', 'frames: free above min'], isCycle: true },
  },
  {
    mechanism: 'M16',
    without: 'the exemption from the global dirty limit',
    off: { topology: topologyNamed('T6'), policy: globalThrottle },
    on: { topology: topologyNamed('T6'), policy: composed },
    reason: { chain: [...CLIENT_PAGE, 'server: nfs-server', 'task: nfs-server', 'writeback: any file page'], isCycle: true },
  },
  {
    mechanism: 'M19',
    without: 'a pool for each layer',
    off: { topology: stackedDevices(true), policy: composed },
    on: { topology: stackedDevices(false), policy: composed },
    reason: { chain: ['task: upper', 'mapping: lower', 'task: lower', 'mempool: requests of upper'], isCycle: false },
  },
];

/** What an off run lacks of its reason; empty if it hangs for that. */
export function lacksOfReason({ chain, isCycle, emptyAccount }: PairReason, { verdict, outcome }: RunResult): string[] {
  if (verdict !== 'hangs') return [`it ${verdict}`];
  const reports = outcome.reports.map(({ report }) => report);
  const edges = new Set(reports.flatMap((report) => report.edges.map((edge) => edge.join(' → '))));
  const wanted = chain.slice(isCycle ? 0 : 1).map((to, i) => `${chain[isCycle ? (i + chain.length - 1) % chain.length : i]} → ${to}`);
  const lacks = wanted.filter((edge) => !edges.has(edge));
  const isEmpty = reports.some((report) => report.accounts.some(({ name, usage, limit }) => name === emptyAccount && usage === limit));
  return emptyAccount === undefined || isEmpty ? lacks : [...lacks, `account ${emptyAccount} is not empty`];
}
