/**
 * `tidemark mount`: mounts a tree on a directory of Linux until it is unmounted, or the command is told to stop.
 *
 * Prints `mounted DIR` when ready and stays in the foreground. It ends when somebody unmounts the directory; SIGTERM, SIGINT and SIGHUP unmount
 * it: if it is in use, it leaves the tree of names at once, and its users have five seconds to close their files. What was written is durable
 * before it exits 0. A second signal ends the process at once.
 */
import { isKernelError, Kernel } from '@tidemark/core';
import { FuseMount, fuse } from '@tidemark/fuse/host';
import type { Command } from 'commander';
import { mountReplaying } from './files/trees.js';
import { sizeOption } from './grammar.js';
import { JobFailed, UsageError, untilStopped } from './outcome.js';
import { PLUGINS } from './plugins.js';

const EXAMPLES = `
Examples:
  tidemark mount ext3:disk.img /mnt
  tidemark mount ext3:nbd://127.0.0.1:10809/disk /mnt -o allow_other
  tidemark mount memfs:64MiB /mnt -o writeback_cache,noatime

Options of -o: ro, rw, writeback_cache (Linux keeps what is written for a while), entry_timeout=S and attr_timeout=S (whole seconds for which Linux
believes names and attributes, default 60), and those of mount(8), such as allow_other, noatime, nosuid.
Needs root and /dev/fuse. --json prints one object when ready, with the keys mounted, tree, readOnly and writebackCache.`;

interface Words {
  options: string[];
  memory: number;
  json?: true;
}

/** What `-o` says. */
interface MountWords {
  readonly readOnly: boolean;
  readonly writebackCache: boolean;
  readonly entrySeconds?: number;
  readonly attributeSeconds?: number;
  readonly options: readonly string[];
}

/** Fills the verb in. */
export function mountCommand(command: Command): void {
  command
    .argument('<tree>', 'TREE: ext3:DEVICE, memfs:SIZE')
    .argument('<directory>', 'directory of the host')
    .option('-o, --options <options>', 'options, separated by commas', collect, [])
    .addOption(sizeOption('--memory', 'page memory of the kernel that serves', 128 * 2 ** 20))
    .option('--json', 'print what is mounted as one JSON object')
    .addHelpText('after', EXAMPLES)
    .action(mount);
}

function collect(word: string, before: string[]): string[] {
  return [...before, ...word.split(',').filter((option) => option !== '')];
}

function secondsOf(option: string, word: string): number {
  const seconds = /^\d{1,9}$/.test(word) ? Number(word) : Number.NaN;
  if (Number.isNaN(seconds)) throw new UsageError(`-o ${option}=${word}: want whole seconds`);
  return seconds;
}

/** @throws UsageError for an option with a value that is none. */
export function mountWords(words: readonly string[]): MountWords {
  const found: { -readonly [K in keyof MountWords]: MountWords[K] } & { options: string[] } = {
    readOnly: false,
    writebackCache: false,
    options: [],
  };
  for (const word of words) {
    const [name, value] = word.split(/=(.*)/s);
    if (word === 'ro') found.readOnly = true;
    else if (word === 'rw') found.readOnly = false;
    else if (word === 'writeback_cache') found.writebackCache = true;
    else if (name === 'entry_timeout') found.entrySeconds = secondsOf(name, value ?? '');
    else if (name === 'attr_timeout') found.attributeSeconds = secondsOf(name, value ?? '');
    else if (/^(fd|rootmode|user_id|group_id|max_read|subtype|default_permissions)$/.test(name))
      throw new UsageError(`-o ${word}: ${name} is not yours to choose`);
    else found.options.push(word);
  }
  return found;
}

async function mount(tree: string, directory: string, { options, memory, json }: Words): Promise<void> {
  const words = mountWords(options);
  const stopped = untilStopped();
  const kernel = await Kernel.boot({ memory, plugins: [...PLUGINS, fuse], name: 'mount' });
  const problems: string[] = [];
  try {
    await mountReplaying(kernel, tree, words.readOnly);
    const mounted = await FuseMount.open(kernel, { at: directory, source: tree, ...words });
    const { readOnly, writebackCache } = words;
    process.stdout.write(json ? `${JSON.stringify({ mounted: directory, tree, readOnly, writebackCache })}\n` : `mounted ${directory}\n`);
    await Promise.race([stopped, mounted.closed]);
    await end(mounted);
  } finally {
    problems.push(...(await kernel.shutdown()).problems);
  }
  if (problems.length > 0) throw new JobFailed(problems.join('; '));
}

/** Unmounts, or, if it is in use, takes it off and waits a little for its users. */
async function end(mounted: FuseMount): Promise<void> {
  try {
    await mounted.unmount();
  } catch (error) {
    if (!isKernelError(error)) throw error;
    if (error.code !== 'EBUSY') throw new JobFailed(error.message, { cause: error });
    process.stderr.write(`${mounted.at} is in use: taken off, and given five seconds\n`);
    if (!(await mounted.detach())) process.stderr.write(`${mounted.at}: its users were cut off\n`);
  }
}
