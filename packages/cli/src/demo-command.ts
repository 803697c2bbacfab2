/**
 * `tidemark demo`: the real thing end to end, and its report.
 */
import { RESERVE_POLICY_NAMES, type ReservePolicyName } from '@tidemark/core';
import type { Command } from 'commander';
import { formatReport } from './demo/report.js';
import { runDemo } from './demo/run.js';
import { choiceOption, countOption, pathOption, sizeOption } from './grammar.js';
import { Stalled } from './outcome.js';
import { STACKS, type StackName } from './stack.js';
import { createProgress } from './progress.js';

const EXAMPLES = `
Examples:
  tidemark demo
  tidemark demo --memory 8MiB --working-set 1GiB
  tidemark demo --stack ext3                            on a file of an ext3 that lies on an NBD device
  tidemark demo --stack full                            on an NFS mount, its server and its ext3 over NBD in the same kernel
  tidemark demo --input /usr/bin/node --seed 7 --json
  tidemark demo --policy memalloc                       with one shared reserve instead of an account for each node

The stacks nfs and full have a mount: an ordinary file of half the working set is written there meanwhile, made stable, read back and compared,
strangers flood its server, and afterwards e2fsck looks at the image, if it is installed.

Exit code 0 means that every byte came back, 3 that nothing moved any more: who waits for what is on stderr, and with --json on
stdout as { stack, policy, stall }. --json prints one object with the keys stack, policy, verified, memoryBytes, smallestMemoryBytes,
workingSetBytes, inputPath, inputBytes, derivedBytes, seed, sha256, loadSeconds, randomReadSeconds, sequentialReadSeconds,
totalSeconds, throughputBytesPerSecond, pagesSwappedOut, pagesSwappedIn, refaults, metadataFrames, peakFramesUsed,
memoryFrames, peakRssBytes, nodes [{ name, kind, level, nrUnits, need, standing, reserved, highWater, waits }], unfundedAllocations,
holdingsBeyondDeclaration, beside { plainBytes, plainSeconds, strangersCalls, strangersConnections, strangersRefused } or null, isChecked.`;

interface Words {
  stack: StackName;
  memory: number;
  workingSet: number;
  input?: string;
  seed: number;
  policy: ReservePolicyName;
  json?: true;
}

/** Adds the verb. */
export function demoCommand(program: Command): void {
  program
    .command('demo')
    .description('Hold a working set much larger than memory, swap it out over a real connection, and get every byte back')
    .option('--stack <name>', `what to swap on: ${STACKS.join(', ')}`, choiceOption('--stack', STACKS), 'nbd' satisfies StackName)
    .addOption(sizeOption('--memory', 'page memory of the kernel', 8 * 2 ** 20))
    .addOption(sizeOption('--working-set', 'bytes to hold', 128 * 2 ** 20))
    .option(
      '--input <path>',
      'file whose bytes come first (default: the running node, if larger than 32 MiB); the rest is derived',
      pathOption('--input'),
    )
    .option('--seed <n>', 'seed of derived data and of the order', countOption('--seed', 2 ** 32 - 1), 1)
    .option(
      '--policy <name>',
      `who may use the reserve: ${RESERVE_POLICY_NAMES.join(', ')}`,
      choiceOption('--policy', RESERVE_POLICY_NAMES),
      'composed' satisfies ReservePolicyName,
    )
    .option('--json', 'print the report as one JSON object')
    .addHelpText('after', EXAMPLES)
    .action(async (words: Words) => {
      const { stack, memory: memoryBytes, workingSet: workingSetBytes, input: inputPath, seed, policy, json } = words;
      try {
        const report = await runDemo({ stack, memoryBytes, workingSetBytes, inputPath, seed, policy }, createProgress(json ?? false));
        process.stdout.write(json ? `${JSON.stringify(report)}\n` : formatReport(report));
      } catch (error) {
        if (json && error instanceof Stalled) process.stdout.write(`${JSON.stringify({ stack, policy, stall: error.report })}\n`);
        throw error;
      }
    });
}
