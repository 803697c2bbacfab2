/** `tidemark cat`: the bytes of files, one after the other, on stdout. */
import type { Command } from 'commander';
import { parseTreeFile } from './file-word.js';
import { writeOut } from './printable.js';
import { nameOf, withTrees } from './trees.js';
import { type FileVerbWords, fileVerb } from './verb.js';

const EXAMPLES = `
Examples:
  tidemark cat ext3:disk.img::/etc/passwd
  tidemark cat ext3:disk.img::/a ext3:disk.img::/b | sha256sum

The keys of --json: files [{ file, base64 }].`;

/** A multiple of 3, so that the base64 of each chunk goes on where the one before it ended. */
const CHUNK_BYTES = 192 * 1024;

/** Makes the verb. */
export function catCommand(command: Command): void {
  fileVerb(command, EXAMPLES)
    .argument('<file...>', 'regular files')
    .action(async (words: string[], { memory, json }: FileVerbWords) => {
      const reads = words.map(parseTreeFile);
      await withTrees({ memory, reads }, async ({ at, interrupts }) => {
        const chunk = Buffer.alloc(CHUNK_BYTES);
        const put = (bytes: Buffer): Promise<void> => writeOut(json ? Buffer.from(bytes.toString('base64'), 'latin1') : bytes);
        const say = async (text: string): Promise<void> => void (json && (await writeOut(Buffer.from(text))));
        for (const [index, file] of reads.entries()) {
          const place = at(file);
          const opened = await place.tree.open(place.path, 'r');
          try {
            await say(`${index === 0 ? '{"files":[' : '"},'}{"file":${JSON.stringify(nameOf(place))},"base64":"`);
            for (let offset = 0, length = CHUNK_BYTES; length === CHUNK_BYTES; offset += length) {
              interrupts.check();
              length = await opened.read(chunk, offset);
              if (length > 0) await put(chunk.subarray(0, length));
            }
          } finally {
            await opened.close();
          }
        }
        await say('"}]}\n');
      });
    });
}
