/** `tidemark mv`: renames within a tree; from one tree to another it copies, with modes, owners and times, and then removes. */
import type { Command } from 'commander';
import { JobFailed, UsageError } from '../outcome.js';
import { createProgress } from '../progress.js';
import { Copier } from './copier.js';
import { pairUp } from './destination.js';
import { lastName, parseTreeFile } from './file-word.js';
import { printJson } from './printable.js';
import { nameOf, withTrees } from './trees.js';
import { type FileVerbWords, fileVerb } from './verb.js';

const EXAMPLES = `
Examples:
  tidemark mv ext3:disk.img::/a ext3:disk.img::/b
  tidemark mv ext3:disk.img::/a ext3:disk.img::/b ext3:other.img::/from-disk

A source that holds devices, FIFOs or sockets is not moved to another tree. The keys of --json: moved [{ from, to }].`;

/** Makes the verb. */
export function mvCommand(command: Command): void {
  fileVerb(command, EXAMPLES)
    .argument('<file...>', 'what to move, and last where to: a directory that is there, or a new name')
    .usage('[options] <source...> <target>')
    .action(async (words: string[], { memory, json }: FileVerbWords) => {
      if (words.length < 2) throw new UsageError('mv wants at least one source, and a target');
      const files = words.map(parseTreeFile);
      for (const [index, { path }] of files.slice(0, -1).entries())
        if (lastName(path) === '') throw new UsageError(`${words[index]} has no name to move`);
      const progress = createProgress(json ?? false);
      try {
        await withTrees({ memory, writes: files }, async ({ at, interrupts }) => {
          const places = files.map(at);
          const moved: { from: string; to: string }[] = [];
          for (const [from, to] of await pairUp(places.slice(0, -1), places[places.length - 1])) {
            interrupts.check();
            if (from.tree === to.tree) await from.tree.rename(from.path, to.path);
            else {
              const copier = new Copier({ recursive: true, preserve: true }, progress, interrupts);
              const totalBytes = await copier.measure(from);
              progress.begin(`moving ${nameOf(from)}`, totalBytes);
              await copier.copy(from, to);
              progress.end();
              if (copier.copied.leftOut > 0) throw new JobFailed(`${nameOf(from)} was copied but for what cannot be, and stays`);
              await from.tree.rm(from.path, { recursive: true, force: false });
            }
            moved.push({ from: nameOf(from), to: nameOf(to) });
          }
          if (json) printJson({ moved });
        });
      } finally {
        progress.stop();
      }
    });
}
