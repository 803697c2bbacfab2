/** `tidemark ls`: what is in directories, one name a line, in the order of their names; with `-l` one file a line. */
import type { Command } from 'commander';
import { ENTRY_KEYS, type Entry, entryOf, modeText } from './entry.js';
import { inside, parseTreeFile } from './file-word.js';
import { printable, printJson, printLine } from './printable.js';
import { nameOf, type Place, withTrees } from './trees.js';
import { type FileVerbWords, fileVerb } from './verb.js';

const EXAMPLES = `
Examples:
  tidemark ls ext3:disk.img
  tidemark ls -l ext3:disk.img::/etc ext3:nbd://127.0.0.1:10809/disk::/var
  tidemark ls ext3:disk.img::/etc --json

The keys of --json: listed [{ file, entries }], and those of each entry: ${ENTRY_KEYS}.`;

interface Words extends FileVerbWords {
  long?: true;
}

/** Makes the verb. */
export function lsCommand(command: Command): void {
  fileVerb(command, EXAMPLES)
    .argument('<file...>', 'directories, or files')
    .option('-l, --long', 'type and permissions, links, owner, group, size, time, name')
    .action(async (words: string[], { memory, json, long }: Words) => {
      const reads = words.map(parseTreeFile);
      await withTrees({ memory, reads }, async ({ at }) => {
        const listed: { file: string; entries: Entry[] }[] = [];
        for (const [index, file] of reads.entries()) {
          const place = at(file);
          if (json) listed.push({ file: nameOf(place), entries: await entries(place) });
          else {
            if (words.length > 1) printLine(`${index > 0 ? '\n' : ''}${nameOf(place)}:`);
            await print(place, long ?? false);
          }
        }
        if (json) printJson({ listed });
      });
    });
}

/** Names in a directory; of anything else its own. */
async function names({ tree, path }: Place): Promise<{ names: readonly string[]; isDirectory: boolean }> {
  const isDirectory = (await tree.stat(path).catch(() => tree.lstat(path))).isDirectory();
  return { names: isDirectory ? await tree.names(path) : [path], isDirectory };
}

async function entries(place: Place): Promise<Entry[]> {
  const found = await names(place);
  const all: Entry[] = [];
  for (const name of found.names)
    all.push(await entryOf(found.isDirectory ? { tree: place.tree, path: inside(place.path, name) } : place, name));
  return all;
}

async function print(place: Place, isLong: boolean): Promise<void> {
  if (!isLong) {
    for (const name of (await names(place)).names) printLine(printable(name));
    return;
  }
  const all = await entries(place);
  const width = (of: (entry: Entry) => unknown): number => Math.max(0, ...all.map((entry) => String(of(entry)).length));
  const widths = { links: width((e) => e.links), uid: width((e) => e.uid), gid: width((e) => e.gid), size: width((e) => e.sizeBytes) };
  for (const entry of all) {
    const { links, uid, gid, sizeBytes, modified, name, target } = entry;
    const numbers = [
      String(links).padStart(widths.links),
      String(uid).padStart(widths.uid),
      String(gid).padStart(widths.gid),
      String(sizeBytes).padStart(widths.size),
    ].join(' ');
    const time = modified.replace(/\.\d+Z$/, 'Z');
    printLine(printable(`${modeText(entry)} ${numbers} ${time} ${name}${target === undefined ? '' : ` -> ${target}`}`));
  }
}
