/**
 * `glob`: paths that match patterns. `*` and `?` match within a name, `**` any number of directories, `[a-z]` and `[!a-z]` one character
 * of a set, `{a,b}` one of several; a name that begins with a dot is matched like any other, as Node has it.
 */
import { FileType } from '../../vfs/mode.js';
import type { Steps } from '../../vfs/steps.js';
import type { Caller } from '../../vfs/walk.js';
import { wrongType } from './errors.js';
import { join } from './path-calls.js';
import type { TreeCalls } from './tree-calls.js';

/** Most patterns that braces may come to. */
const EXPANSIONS_MAX = 1024;

/** What of the options is looked at. */
interface Chosen {
  readonly cwd?: unknown;
  readonly exclude?: unknown;
}

/** Every path that matches one of the patterns, each once. Paths are relative to `cwd` (default `/`), unless the pattern is absolute. */
export function* globSteps(trees: TreeCalls, who: Caller, pattern: unknown, options: Chosen): Steps<string[]> {
  const patterns = typeof pattern === 'string' ? [pattern] : pattern;
  if (!Array.isArray(patterns) || !patterns.every((one) => typeof one === 'string'))
    throw wrongType('patterns', 'of type string or an instance of Array', pattern);
  const { cwd = '/', exclude } = options;
  if (typeof cwd !== 'string') throw wrongType('options.cwd', 'of type string', cwd);
  if (exclude !== undefined && typeof exclude !== 'function') throw wrongType('options.exclude', 'of type function', exclude);
  const isExcluded = (path: string): boolean => (exclude as ((path: string) => boolean) | undefined)?.(path) === true;
  const found = new Set<string>();
  for (const one of (patterns as string[]).flatMap(expandBraces)) {
    const isAbsolute = one.startsWith('/');
    const names = one.split('/').filter((name) => name !== '' && name !== '.');
    yield* match(trees, who, isAbsolute ? '/' : cwd, isAbsolute ? '/' : '', names, isExcluded, found);
  }
  return [...found];
}

/** @param shown what the paths found begin with. */
function* match(
  trees: TreeCalls,
  who: Caller,
  dir: string,
  shown: string,
  names: readonly string[],
  isExcluded: (path: string) => boolean,
  found: Set<string>,
): Steps<void> {
  const [name, ...rest] = names;
  if (name === undefined) return;
  if (name === '**' && rest.length > 0) yield* match(trees, who, dir, shown, rest, isExcluded, found);
  if (name === '**' && rest.length === 0 && shown !== '') found.add(shown);
  const matches = name === '**' ? null : nameMatcher(name);
  for (const entry of yield* entriesOf(trees, who, dir)) {
    const path = join(shown, entry.name);
    if ((matches !== null && !matches.test(entry.name)) || isExcluded(path)) continue;
    const isDirectory = entry.type === FileType.DIRECTORY;
    if (name === '**') {
      if (isDirectory) yield* match(trees, who, join(dir, entry.name), path, names, isExcluded, found);
      else if (rest.length === 0) found.add(path);
    } else if (rest.length === 0) found.add(path);
    else if (isDirectory) yield* match(trees, who, join(dir, entry.name), path, rest, isExcluded, found);
  }
}

/** What cannot be listed has nothing that matches. */
function* entriesOf(trees: TreeCalls, who: Caller, dir: string): Steps<readonly { name: string; type: number }[]> {
  try {
    return yield* trees.list(who, dir, 'scandir');
  } catch (error) {
    if (['ENOENT', 'ENOTDIR', 'EACCES'].includes(String((error as { code?: unknown }).code))) return [];
    throw error;
  }
}

/** `a{b,c}d` is `abd` and `acd`. */
function expandBraces(pattern: string): string[] {
  const expanded = [pattern];
  for (let i = 0; i < expanded.length && expanded.length < EXPANSIONS_MAX; ) {
    const braces = /\{([^{}]*,[^{}]*)\}/.exec(expanded[i]);
    if (braces === null) {
      i++;
      continue;
    }
    const [before, after] = [expanded[i].slice(0, braces.index), expanded[i].slice(braces.index + braces[0].length)];
    expanded.splice(i, 1, ...braces[1].split(',').map((choice) => before + choice + after));
  }
  return expanded;
}

/** A name's pattern as a regular expression without nested repeats, so that no name takes long. */
function nameMatcher(pattern: string): RegExp {
  let source = '';
  for (let i = 0; i < pattern.length; i++) {
    const character = pattern[i];
    const set = character === '[' ? /^\[(!?)([^\]]+)\]/.exec(pattern.slice(i)) : null;
    if (set !== null) {
      source += `[${set[1] === '!' ? '^' : ''}${set[2].replace(/[\\^[]/g, '\\$&')}]`;
      i += set[0].length - 1;
    } else if (character === '*') {
      if (pattern[i - 1] !== '*') source += '.*';
    } else source += character === '?' ? '.' : character.replace(/[\\^$.|+(){}[\]]/g, '\\$&');
  }
  return new RegExp(`^${source}$`, 'su');
}
