/** `tidemark mkdir`: makes directories. */
import type { Command } from 'commander';
import { parseTreeFile } from './file-word.js';
import { printJson } from './printable.js';
import { nameOf, withTrees } from './trees.js';
import { type FileVerbWords, fileVerb } from './verb.js';

const EXAMPLES = `
Examples:
  tidemark mkdir ext3:disk.img::/home
  tidemark mkdir -p ext3:disk.img::/srv/www/logs

The keys of --json: made.`;

interface Words extends FileVerbWords {
  parents?: boolean;
}

/** Makes the verb. */
export function mkdirCommand(command: Command): void {
  fileVerb(command, EXAMPLES)
    .argument('<file...>', 'directories to make')
    .option('-p, --parents', 'those above, too; one that is there is no error')
    .action(async (words: string[], { memory, json, parents = false }: Words) => {
      const writes = words.map(parseTreeFile);
      await withTrees({ memory, writes }, async ({ at }) => {
        const places = writes.map(at);
        for (const { tree, path } of places) await tree.mkdir(path, { recursive: parents });
        if (json) printJson({ made: places.map(nameOf) });
      });
    });
}
