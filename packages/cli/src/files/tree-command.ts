/** `tidemark tree`: a directory and what is below it. */
import type { Command } from 'commander';
import { countOption } from '../grammar.js';
import { ENTRY_KEYS, type Entry, entryOf } from './entry.js';
import { inside, lastName, parseTreeFile } from './file-word.js';
import { printable, printJson, printLine } from './printable.js';
import { nameOf, type OpenTrees, type Place, withTrees } from './trees.js';
import { type FileVerbWords, fileVerb } from './verb.js';

const EXAMPLES = `
Examples:
  tidemark tree ext3:disk.img
  tidemark tree ext3:disk.img::/usr --depth 2
  tidemark tree ext3:disk.img::/usr --json

The keys of --json: trees, and those of each entry: ${ENTRY_KEYS}, entries (of a directory).`;

const DEPTH_MAX = 4096;

interface Words extends FileVerbWords {
  depth: number;
}

type Branch = Entry & { readonly entries?: readonly Branch[] };

/** Makes the verb. */
export function treeCommand(command: Command): void {
  fileVerb(command, EXAMPLES)
    .argument('<file...>', 'directories')
    .option('--depth <n>', 'levels below each', countOption('--depth', DEPTH_MAX), DEPTH_MAX)
    .action(async (words: string[], { memory, json, depth }: Words) => {
      const reads = words.map(parseTreeFile);
      await withTrees({ memory, reads }, async ({ at, interrupts }) => {
        const trees: Branch[] = [];
        for (const file of reads) {
          const place = at(file);
          if (json) trees.push(await branch(place, lastName(file.path), depth, interrupts));
          else await new Drawing(interrupts).draw(place, depth);
        }
        if (json) printJson({ trees });
      });
    });
}

async function branch(place: Place, name: string, depth: number, interrupts: OpenTrees['interrupts']): Promise<Branch> {
  interrupts.check();
  const entry = await entryOf(place, name);
  if (entry.type !== 'directory' || depth === 0) return entry;
  const entries: Branch[] = [];
  for (const below of await place.tree.names(place.path))
    entries.push(await branch({ tree: place.tree, path: inside(place.path, below) }, below, depth - 1, interrupts));
  return { ...entry, entries };
}

/** Draws as it goes, so that nothing is kept but the names on the way down. */
class Drawing {
  #nrDirectories = 0;
  #nrFiles = 0;

  constructor(readonly interrupts: OpenTrees['interrupts']) {}

  async draw(place: Place, depth: number): Promise<void> {
    printLine(nameOf(place));
    if ((await place.tree.stat(place.path)).isDirectory()) await this.#below(place, '', depth);
    const plural = (count: number, one: string, many: string): string => `${count} ${count === 1 ? one : many}`;
    printLine(`${plural(this.#nrDirectories, 'directory', 'directories')}, ${plural(this.#nrFiles, 'file', 'files')}`);
  }

  async #below({ tree, path }: Place, indent: string, depth: number): Promise<void> {
    if (depth === 0) return;
    const names = await tree.names(path);
    for (const [index, name] of names.entries()) {
      this.interrupts.check();
      const isLast = index === names.length - 1;
      const place = { tree, path: inside(path, name) };
      const stats = await tree.lstat(place.path);
      const target = stats.isSymbolicLink() ? ` -> ${printable(await tree.readlink(place.path))}` : '';
      printLine(`${indent}${isLast ? '└── ' : '├── '}${printable(name)}${target}`);
      if (stats.isDirectory()) {
        this.#nrDirectories++;
        await this.#below(place, `${indent}${isLast ? '    ' : '│   '}`, depth - 1);
      } else this.#nrFiles++;
    }
  }
}
