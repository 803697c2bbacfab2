/** `tidemark ln`: gives a file one more name, or makes a symbolic link. */
import type { Command } from 'commander';
import { UsageError } from '../outcome.js';
import { pairUp } from './destination.js';
import { parseTreeFile } from './file-word.js';
import { printJson } from './printable.js';
import { nameOf, withTrees } from './trees.js';
import { type FileVerbWords, fileVerb } from './verb.js';

const EXAMPLES = `
Examples:
  tidemark ln ext3:disk.img::/a ext3:disk.img::/another-name-of-a
  tidemark ln -s ../etc/passwd ext3:disk.img::/home/passwd

With -s the target is text, and need not be there. The keys of --json: link, target.`;

interface Words extends FileVerbWords {
  symbolic?: true;
}

/** Makes the verb. */
export function lnCommand(command: Command): void {
  fileVerb(command, EXAMPLES)
    .argument('<target>', 'a FILE; with -s a path as the link is to hold it')
    .argument('<file>', 'the new name')
    .option('-s, --symbolic', 'a symbolic link')
    .action(async (target: string, word: string, { memory, json, symbolic }: Words) => {
      const file = parseTreeFile(word);
      if (symbolic) {
        if (target === '') throw new UsageError('a link cannot lead to an empty path');
        await withTrees({ memory, writes: [file] }, async ({ at }) => {
          const place = at(file);
          await place.tree.symlink(target, place.path);
          if (json) printJson({ link: nameOf(place), target });
        });
        return;
      }
      const existing = parseTreeFile(target);
      if (existing.tree !== file.tree) throw new UsageError(`${target} and ${word} are in two trees; a file has its names in one`);
      await withTrees({ memory, writes: [existing, file] }, async ({ at }) => {
        const [[from, to]] = await pairUp([at(existing)], at(file));
        await from.tree.link(from.path, to.path);
        if (json) printJson({ link: nameOf(to), target: nameOf(from) });
      });
    });
}
