/**
 * The words TREE and FILE.
 *
 *     TREE    memfs:SIZE   ext3:DEVICE   ext2:DEVICE         what a kernel mounts
 *             nfs://HOST/EXPORT[?nfsport=N&mountport=M]
 *     FILE    TREE::/path                                    the rightmost `::/` wins
 *             TREE                                           its root
 *             path                                           no scheme: a path of the host; one with a colon is ./a:b
 */
import { UsageError } from '../outcome.js';

/** Where a FILE is. */
export interface FileWord {
  /** The tree's source, as `kernel.mount` takes it; null for the host. */
  readonly tree: string | null;
  /** In a tree it begins with `/`. */
  readonly path: string;
}

const SCHEME = /^[a-z][a-z0-9+.-]*:/i;
const SEPARATOR = '::/';

/** Parses a FILE. @throws UsageError for an empty word, a NUL, and `disk.img::/x`, whose tree says no filesystem. */
export function parseFile(word: string): FileWord {
  if (word === '' || word.includes('\0')) throw new UsageError(`${JSON.stringify(word)} is no FILE; want TREE::/path`);
  const at = word.lastIndexOf(SEPARATOR);
  const tree = at < 0 ? word : word.slice(0, at);
  if (SCHEME.test(tree)) return { tree, path: at < 0 ? '/' : word.slice(at + SEPARATOR.length - 1) };
  if (at > 0 && !/^[./]/.test(word))
    throw new UsageError(
      `${JSON.stringify(word)} says no filesystem: want ext3:${word} (a path of the host with "::/" in it is ./${word})`,
    );
  return { tree: null, path: word };
}

/** Parses a FILE that must be in a tree. @throws UsageError for a path of the host, too. */
export function parseTreeFile(word: string): FileWord {
  const file = parseFile(word);
  if (file.tree !== null) return file;
  throw new UsageError(`${JSON.stringify(word)} is a path of the host, which only cp takes; want TREE::/path, as in ext3:disk.img::/etc`);
}

/** The last name of a path: empty for a root, `.` and `..`. */
export function lastName(path: string): string {
  const name = /([^/]*)\/*$/.exec(path)?.[1] ?? '';
  return name === '.' || name === '..' ? '' : name;
}

/** The path of a name in a directory. */
export function inside(directory: string, name: string): string {
  return directory.endsWith('/') ? directory + name : `${directory}/${name}`;
}
