/**
 * What the demo reports: an object with documented keys for `--json`, and the same for people.
 */
import { formatSize, type ReservePolicyName } from '@tidemark/core';
import type { StackName } from '../stack.js';
import type { BesideReport } from './beside.js';
import { type DemoUse, formatDemoUse } from './plan.js';

/** Keys and meaning are stable. Sizes in bytes, times in seconds, frames and pages of 4096 bytes. */
export interface DemoReport extends DemoUse {
  readonly stack: StackName;
  /** Reserve policy that it ran under. */
  readonly policy: ReservePolicyName;
  /** True: there is no report unless every byte was. */
  readonly verified: true;
  readonly memoryBytes: number;
  /** The least that would have done, by the plan. */
  readonly smallestMemoryBytes: number;
  readonly workingSetBytes: number;
  /** The file whose bytes come first, or null. */
  readonly inputPath: string | null;
  readonly inputBytes: number;
  /** What the generator made; `inputBytes` and this are the working set. */
  readonly derivedBytes: number;
  readonly seed: number;
  /** Of the whole working set as read back, equal to that of its source. */
  readonly sha256: string;
  readonly loadSeconds: number;
  readonly randomReadSeconds: number;
  readonly sequentialReadSeconds: number;
  /** What went on beside it, in a stack that has a mount. */
  readonly beside: BesideReport | null;
  /** `e2fsck -fn` found nothing in the image; false if there is none, or the tool is not installed. */
  readonly isChecked: boolean;
  /** From before the kernel booted until after it was down. */
  readonly totalSeconds: number;
  /** Bytes through the buffer (loaded, read at random, read in order) by the seconds of these three. */
  readonly throughputBytesPerSecond: number;
  readonly pagesSwappedOut: number;
  readonly pagesSwappedIn: number;
  /** Pages that came back after they had been evicted. */
  readonly refaults: number;
  /** Frames of the budget that held no page: page cells, swap tables, receive slots and requests. Taken at the end of the last read. */
  readonly metadataFrames: number;
  readonly peakFramesUsed: number;
  readonly memoryFrames: number;
  /** Of the process, by the operating system. */
  readonly peakRssBytes: number;
}

/** What a stack swaps over, for people. */
const WAYS: Readonly<Record<StackName, string>> = {
  nbd: 'NBD',
  ext3: 'ext3 over NBD',
  nfs: 'NFS from an ext3',
  full: 'NFS from an ext3 over NBD',
};

/** The report as lines for people. */
export function formatReport(report: DemoReport): string {
  const count = (n: number): string => n.toLocaleString('en-US');
  const rate = (bytes: number, seconds: number): string => `${formatSize(Math.round(bytes / seconds / 2 ** 20) * 2 ** 20)}/s`;
  const size = report.workingSetBytes;
  const derived = `${formatSize(report.derivedBytes)} derived from seed ${report.seed}`;
  const rows: [string, string][] = [
    ['verified', `${count(size)} bytes, each compared with its source twice`],
    ['sha256', report.sha256],
    ['content', report.inputPath === null ? derived : `${formatSize(report.inputBytes)} of ${report.inputPath}, ${derived}`],
    ['time', `${report.totalSeconds.toFixed(2)} s`],
    ['  load', `${report.loadSeconds.toFixed(2)} s, ${rate(size, report.loadSeconds)}`],
    ['  64 KiB at random', `${report.randomReadSeconds.toFixed(2)} s, ${rate(size, report.randomReadSeconds)}`],
    ['  in order', `${report.sequentialReadSeconds.toFixed(2)} s, ${rate(size, report.sequentialReadSeconds)}`],
    ['throughput', `${formatSize(Math.round(report.throughputBytesPerSecond / 2 ** 20) * 2 ** 20)}/s`],
    ['pages swapped out', count(report.pagesSwappedOut)],
    ['pages swapped in', count(report.pagesSwappedIn)],
    ['refaults', count(report.refaults)],
    ['metadata', `${count(report.metadataFrames)} frames`],
    ['peak in use', `${count(report.peakFramesUsed)} of ${count(report.memoryFrames)} frames`],
    ['peak RSS', formatSize(report.peakRssBytes)],
  ];
  if (report.beside !== null) {
    const { plainBytes, plainSeconds, strangersCalls, strangersConnections, strangersRefused } = report.beside;
    rows.push(
      ['an ordinary file', `${formatSize(plainBytes)} written to the mount, made stable and read back, ${plainSeconds.toFixed(2)} s`],
      [
        'strangers',
        `${count(strangersCalls)} calls, ${count(strangersConnections)} connections, ${count(strangersRefused)} of them refused or cut`,
      ],
      ['e2fsck -fn', report.isChecked ? 'nothing to say' : 'is not installed'],
    );
  }
  const title = `${formatSize(size)} in ${formatSize(report.memoryBytes)} of memory, swapped over ${WAYS[report.stack]} on loopback: every byte came back`;
  const lines = [title, ...rows.map(([name, value]) => `  ${name.padEnd(20)}${value}`), ...formatDemoUse(report)];
  return `${lines.join('\n')}\n`;
}
