/** `tidemark check`: is a filesystem what it must be? It is only read. */
import { type FrameArray, Gfp } from '@tidemark/core';
import { type CheckReport, checkExt3 } from '@tidemark/fs-ext3';
import type { Command } from 'commander';
import { sizeOption } from '../grammar.js';
import { JobFailed, UsageError } from '../outcome.js';
import { printable, printJson, printLine } from './printable.js';
import { withDevice } from './with-device.js';

const EXAMPLES = `
Examples:
  tidemark check ext3:disk.img
  tidemark check ext3:nbd://127.0.0.1:10809/disk --json

Exit code 0: clean. 1: not; what was found is listed, the pass in front (0 superblock, 1 inodes and blocks, 2 directories, 3 connections,
4 links, 5 bitmaps and counts). Nothing may write the device meanwhile. What a journal still holds is not taken in: mounting does that.
The keys of --json: tree, isClean, needsRecovery, nrFindings, findings [{ pass, message }] (the first thousand), nrInodes, nrFreeInodes,
nrBlocks, nrFreeBlocks.`;

interface Words {
  memory: number;
  json?: true;
}

/** Makes the verb. */
export function checkCommand(command: Command): void {
  command
    .argument('<tree>', 'ext3:DEVICE, or ext2:DEVICE')
    .addOption(sizeOption('--memory', 'page memory of the kernel that does it', 64 * 2 ** 20))
    .option('--json', 'print what was found as one JSON object')
    .addHelpText('after', EXAMPLES)
    .action(async (tree: string, { memory, json }: Words) => {
      const report = await check(tree, deviceOf(tree), memory);
      if (json) printJson({ tree, ...report });
      else print(tree, report);
      if (!report.isClean) throw new JobFailed(`${tree} is not clean: ${count(report.nrFindings, 'finding')}`);
    });
}

/** The device of `ext3:DEVICE`. @throws UsageError for anything else. */
function deviceOf(tree: string): string {
  const device = /^ext[23]:(.+)$/is.exec(tree)?.[1];
  if (device === undefined) throw new UsageError(`${JSON.stringify(tree)} cannot be checked; want ext3:DEVICE`);
  if (device.includes('::/')) throw new UsageError(`${tree} is a file; check wants the tree, ext3:DEVICE`);
  return device;
}

async function check(tree: string, device: string, memory: number): Promise<CheckReport> {
  return withDevice(device, memory, { readOnly: true }, async ({ kernel, bytes }) => {
    const tables: FrameArray[] = [];
    const allocate = (what: string, length: number): FrameArray => {
      const table = kernel.memory.allocFrameArray(`checking ${tree} (${what})`, length, Gfp.STANDING);
      tables.push(table);
      return table;
    };
    try {
      return await checkExt3(bytes, allocate);
    } finally {
      for (const table of tables) table.free();
    }
  });
}

function print(tree: string, report: CheckReport): void {
  const { isClean, needsRecovery, nrFindings, findings, nrInodes, nrFreeInodes, nrBlocks, nrFreeBlocks } = report;
  for (const { pass, message } of findings) printLine(`${pass}  ${printable(message)}`);
  if (nrFindings > findings.length) printLine(`and ${count(nrFindings - findings.length, 'finding')} more`);
  const used = `${nrInodes - nrFreeInodes} of ${nrInodes} inodes and ${nrBlocks - nrFreeBlocks} of ${nrBlocks} blocks in use`;
  printLine(`${printable(tree)}: ${isClean ? 'clean' : 'not clean'}; ${used}`);
  if (needsRecovery) printLine('its journal holds what is not in place yet; mounting it brings that in');
}

function count(n: number, what: string): string {
  return `${n} ${what}${n === 1 ? '' : 's'}`;
}
