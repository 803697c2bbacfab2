/**
 * `tidemark demo`: the real thing end to end, and its report.
 */
import { type Command, Option } from 'commander';
import { formatReport } from './demo/report.js';
import { runDemo } from './demo/run.js';
import { choiceOption, countOption, pathOption, sizeOption } from './grammar.js';
import { UsageError } from './outcome.js';
import { createProgress } from './progress.js';

const EXAMPLES = `
Examples:
  tidemark demo
  tidemark demo --memory 8MiB --working-set 1GiB
  tidemark demo --input /usr/bin/node --seed 7 --json

Exit code 0 means that every byte came back. --json prints one object with the keys stack, verified, memoryBytes,
workingSetBytes, inputPath, inputBytes, derivedBytes, seed, sha256, loadSeconds, randomReadSeconds, sequentialReadSeconds,
totalSeconds, throughputBytesPerSecond, pagesSwappedOut, pagesSwappedIn, refaults, metadataFrames, peakFramesUsed,
memoryFrames, peakRssBytes.`;

interface Words {
  stack: 'nbd';
  memory: number;
  workingSet: number;
  input?: string;
  seed: number;
  json?: true;
}

/** Adds the verb. */
export function demoCommand(program: Command): void {
  program
    .command('demo')
    .description('Hold a working set much larger than memory, swap it out over a real connection, and get every byte back')
    .option('--stack <name>', 'what to swap on: nbd', choiceOption('--stack', ['nbd']), 'nbd')
    .addOption(sizeOption('--memory', 'page memory of the kernel', 8 * 2 ** 20))
    .addOption(sizeOption('--working-set', 'bytes to hold', 128 * 2 ** 20))
    .option(
      '--input <path>',
      'file whose bytes come first (default: the running node, if larger than 32 MiB); the rest is derived',
      pathOption('--input'),
    )
    .option('--seed <n>', 'seed of derived data and of the order', countOption('--seed', 2 ** 32 - 1), 1)
    .addOption(new Option('--policy <name>').hideHelp().argParser(noPolicies))
    .option('--json', 'print the report as one JSON object')
    .addHelpText('after', EXAMPLES)
    .action(async (words: Words) => {
      const report = await runDemo(
        { memoryBytes: words.memory, workingSetBytes: words.workingSet, inputPath: words.input, seed: words.seed },
        createProgress(words.json ?? false),
      );
      process.stdout.write(words.json ? `${JSON.stringify(report)}\n` : formatReport(report));
    });
}

function noPolicies(word: string): never {
  throw new UsageError(`--policy ${JSON.stringify(word)}: there is no choice of policies yet; it comes in a later version`);
}
