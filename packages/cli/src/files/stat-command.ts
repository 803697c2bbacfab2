/** `tidemark stat`: everything there is to know of files, links themselves included. */
import type { Command } from 'commander';
import { ENTRY_KEYS, type Entry, entryOf, modeText } from './entry.js';
import { lastName, parseTreeFile } from './file-word.js';
import { printable, printJson, printLine } from './printable.js';
import { withTrees } from './trees.js';
import { type FileVerbWords, fileVerb } from './verb.js';

const EXAMPLES = `
Examples:
  tidemark stat ext3:disk.img::/etc/passwd
  tidemark stat ext3:disk.img::/ ext3:disk.img::/lost+found --json

The keys of --json: files, and those of each: ${ENTRY_KEYS}.`;

/** Makes the verb. */
export function statCommand(command: Command): void {
  fileVerb(command, EXAMPLES)
    .argument('<file...>', 'files')
    .action(async (words: string[], { memory, json }: FileVerbWords) => {
      const reads = words.map(parseTreeFile);
      await withTrees({ memory, reads }, async ({ at }) => {
        const files: Entry[] = [];
        for (const file of reads) files.push(await entryOf(at(file), lastName(file.path)));
        if (json) printJson({ files });
        else for (const [index, entry] of files.entries()) printLine(`${index > 0 ? '\n' : ''}${format(entry)}`);
      });
    });
}

function format(entry: Entry): string {
  const rows = [
    ['file', entry.target === undefined ? entry.file : `${entry.file} -> ${printable(entry.target)}`],
    ['type', entry.type],
    ['mode', `${entry.mode} ${modeText(entry)}`],
    ['owner', `${entry.uid}:${entry.gid}`],
    ['links', String(entry.links)],
    ['inode', String(entry.inode)],
    ['size', `${entry.sizeBytes} bytes, ${entry.allocatedBytes} allocated`],
    ['accessed', entry.accessed],
    ['modified', entry.modified],
    ['changed', entry.changed],
  ];
  return rows.map(([name, value]) => `${name.padEnd(10)}${value}`).join('\n');
}
