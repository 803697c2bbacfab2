/** `tidemark rm`: removes files, and with `-r` directories with all that is below them. */
import type { Command } from 'commander';
import { UsageError } from '../outcome.js';
import { lastName, parseTreeFile } from './file-word.js';
import { printJson } from './printable.js';
import { nameOf, withTrees } from './trees.js';
import { type FileVerbWords, fileVerb } from './verb.js';

const EXAMPLES = `
Examples:
  tidemark rm ext3:disk.img::/core
  tidemark rm -r ext3:disk.img::/tmp/build ext3:disk.img::/tmp/cache

The keys of --json: removed. Roots of trees stay.`;

interface Words extends FileVerbWords {
  recursive?: boolean;
  force?: boolean;
}

/** Makes the verb. */
export function rmCommand(command: Command): void {
  fileVerb(command, EXAMPLES)
    .argument('<file...>', 'files to remove')
    .option('-r, --recursive', 'directories and what is below them')
    .option('-f, --force', 'a file that is not there is no error')
    .action(async (words: string[], { memory, json, recursive = false, force = false }: Words) => {
      const writes = words.map(parseTreeFile);
      for (const [index, { path }] of writes.entries())
        if (lastName(path) === '') throw new UsageError(`${words[index]} has no name to remove`);
      await withTrees({ memory, writes }, async ({ at, interrupts }) => {
        const removed: string[] = [];
        for (const file of writes) {
          interrupts.check();
          const place = at(file);
          const stats = await (force ? place.tree.find(place.path, false) : place.tree.lstat(place.path));
          if (stats === null) continue;
          if (stats.isDirectory() && !recursive) throw new UsageError(`${nameOf(place)} is a directory; -r removes it`);
          await place.tree.rm(place.path, { recursive, force });
          removed.push(nameOf(place));
        }
        if (json) printJson({ removed });
      });
    });
}
